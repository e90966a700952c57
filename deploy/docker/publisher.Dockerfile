# The publisher: one static program.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags=-s -o /out/publisher ./cmd/publisher

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin parley
COPY --from=build /out/publisher /usr/local/bin/publisher
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["publisher"]
CMD ["--help"]
