# The worker: one static program, and Debian's headless shell with its sandbox.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags=-s -o /out/worker ./cmd/worker

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates chromium-headless-shell chromium-sandbox fonts-dejavu-core \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin parley
COPY --from=build /out/worker /usr/local/bin/worker
USER 10001:10001
WORKDIR /tmp
EXPOSE 9090
ENTRYPOINT ["worker"]
CMD ["run"]
