package event

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sample is an envelope with every attribute, and extensions.
func sample() Envelope {
	return Envelope{
		ID: "018f-1", Source: "/publisher/cli", Type: CommandType("botstar.widget.open"),
		Subject: "shop/u-42", Time: time.Date(2026, 11, 24, 9, 30, 0, 123456789, time.UTC),
		DataSchema: "https://parley.chat/schemas/v1/command/botstar.widget.open.schema.json", DataContentType: "application/json",
		Extensions: map[string]string{
			ExtPartitionKey: "u-42", ExtExpiryTime: "2026-11-24T09:31:00Z",
			ExtTraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
			"greeting":     `Euro € 😀 "100%"`,
		},
		Data: []byte(`{"site":"shop","visitor":{"user_id":"u-42"}}`),
	}
}

func TestBothModesKeepTheEnvelope(t *testing.T) {
	t.Parallel()
	for name, encode := range modes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Decode(encode(sample()))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(sample(), got); diff != "" {
				t.Errorf("the envelope changed on its way (-want +got):\n%s", diff)
			}
		})
	}
}
