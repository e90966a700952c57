package bus

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// purgeLife is how long the mark of a purged key stays: long enough for every
// replica and every watcher to see it.
const purgeLife = time.Minute

// Replace is Update for keys with a life of their own: the value gets the life
// from now on, in whole seconds. 0 means for ever. Its keys are two tokens, such
// as "shop.s1".
func (k *KV) Replace(ctx context.Context, key string, value []byte, revision uint64, life time.Duration) (uint64, error) {
	site, session, ok := strings.Cut(key, ".")
	if !ok || !event.IsToken(site) || !event.IsToken(session) {
		return 0, fault.New(fault.Malformed, "the key %q is not two tokens", key)
	}
	msg := &nats.Msg{Subject: "$KV." + k.name + "." + key, Data: value, Header: nats.Header{
		jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(revision, 10)},
	}}
	if life > 0 {
		msg.Header[jetstream.MsgTTLHeader] = []string{strconv.FormatInt(int64(life/time.Second), 10)}
	}
	receipt, err := k.bus.send(msg, func(ctx context.Context) (Receipt, bool) {
		// An earlier attempt may have been stored: then our own value is there.
		last, err := k.bus.lastOf(ctx, "KV_"+k.name, msg.Subject)
		if err != nil || last.Sequence <= revision || !bytes.Equal(last.Data, value) {
			return Receipt{}, false
		}
		return Receipt{Stream: "KV_" + k.name, Sequence: last.Sequence}, true
	}).Wait(ctx)
	if err != nil {
		return 0, fmt.Errorf("replacing the key %q of the bucket %s: %w", key, k.name, err)
	}
	return receipt.Sequence, nil
}

// Purge removes the key. What is left is a mark with the key's name, which ends
// by itself within a minute. Purging what is not there is no error. The bucket
// must know keys with a life of their own.
func (k *KV) Purge(ctx context.Context, key string) error {
	return k.do(ctx, "purging", key, nil, func(ctx context.Context) error {
		return k.kv.Purge(ctx, key, jetstream.PurgeTTL(purgeLife))
	})
}
