package event

import (
	"encoding/json"
	"testing"

	sdk "github.com/cloudevents/sdk-go/v2/event"
)

// busy is the command that the benchmarks carry.
func busy() Envelope {
	e := sample()
	e.Type = CommandType("botstar.widget.boot")
	e.Extensions = map[string]string{
		ExtPartitionKey: "shop-u42", ExtCorrelationID: "018f-0", ExtExpiryTime: "2026-11-24T09:31:00Z",
		ExtTraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
	e.Data = json.RawMessage(`{"site":"shop","visitor":{"user_id":"u-42","email":"ada@example.test"},` +
		`"params":{"mode":"livechat","user":{"first_name":"Ada","last_name":"Lovelace","tags":["vip","beta"],"seats":12}},` +
		`"timeout_ms":20000,"auto_boot":true}`)
	return e
}

// BenchmarkCodec is our whole way: encode, decode, and validate the data
// against its schema. BenchmarkSDK is its reference.
func BenchmarkCodec(b *testing.B) {
	s, e := published(b), busy()
	b.ReportAllocs()
	for b.Loop() {
		got, err := Decode(Encode(e))
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Validate(got.Type, got.Data); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSDK is the CloudEvents SDK's structured mode, encode and decode,
// without any validation.
func BenchmarkSDK(b *testing.B) {
	e, made := busy(), sdk.New()
	made.SetID(e.ID)
	made.SetSource(e.Source)
	made.SetType(e.Type)
	made.SetSubject(e.Subject)
	made.SetTime(e.Time)
	made.SetDataSchema(e.DataSchema)
	for name, value := range e.Extensions {
		made.SetExtension(name, value)
	}
	if err := made.SetData("application/json", e.Data); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		body, err := json.Marshal(made)
		if err != nil {
			b.Fatal(err)
		}
		var got sdk.Event
		if err := json.Unmarshal(body, &got); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	e := busy()
	b.ReportAllocs()
	for b.Loop() {
		Encode(e)
	}
}

func BenchmarkDecode(b *testing.B) {
	header, body := Encode(busy())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(header, body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseData(b *testing.B) {
	e := busy()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseData(e.Data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkValidateValue(b *testing.B) {
	s, e := published(b), busy()
	value, err := ParseData(e.Data)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := s.ValidateValue(e.Type, value); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeCommand(b *testing.B) {
	s, e := published(b), busy()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.DecodeCommand(e); err != nil {
			b.Fatal(err)
		}
	}
}
