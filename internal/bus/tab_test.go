package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/fault"
)

// runTabs runs the tabs until the test ends.
func runTabs(
	t *testing.T, tabs *bus.Tabs,
	answer func(context.Context, string, string, []byte) ([]byte, error), claimed func(string, string, []byte),
) {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- tabs.Run(ctx, answer, claimed) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("running the tabs: %v", err)
		}
	})
}

func noClaims(string, string, []byte) {}

func TestTabIsAskedWhereItIsHeld(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	tabs := b.Tabs()
	runTabs(t, tabs, func(_ context.Context, site, session string, body []byte) ([]byte, error) {
		if string(body) == "no" {
			return nil, fault.New(fault.PageHung, "it hangs").At("/x")
		}
		return fmt.Appendf(nil, "%s/%s: %s", site, session, body), nil
	}, noClaims)

	_, err := b.AskTab(t.Context(), "shop", "ada", []byte("hello"))
	if !errors.Is(err, fault.New(fault.VisitorAway, "")) {
		t.Fatalf("a tab that nobody holds: %v", err)
	}
	for range 2 { // Twice changes nothing.
		if err := tabs.Hold("shop", "ada"); err != nil {
			t.Fatal(err)
		}
	}
	got, err := b.AskTab(t.Context(), "shop", "ada", []byte("hello"))
	if err != nil || string(got) != "shop/ada: hello" {
		t.Fatalf("the answer is %q, %v", got, err)
	}
	if _, err := b.AskTab(t.Context(), "shop", "ada", []byte("no")); !errors.Is(err, fault.New(fault.PageHung, "")) || fault.From(err).Field != "/x" {
		t.Errorf("a problem comes back as %v", err)
	}
	if _, err := b.AskTab(t.Context(), "shop", "bob", nil); !errors.Is(err, fault.New(fault.VisitorAway, "")) {
		t.Errorf("another visitor's tab: %v", err)
	}
	tabs.Release("shop", "ada")
	tabs.Release("shop", "ada")
	if _, err := b.AskTab(t.Context(), "shop", "ada", nil); !errors.Is(err, fault.New(fault.VisitorAway, "")) {
		t.Errorf("a tab that was released: %v", err)
	}
	if tabs.Held() != 0 {
		t.Errorf("%d are held", tabs.Held())
	}
}

// A subject is made of site and session: nobody may choose another one by them.
func TestTabNamesAreTokens(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	tabs := b.Tabs()
	for _, name := range []string{"", "*", ">", "a.b", "a b", "A", strings.Repeat("a", 64)} {
		_, asked := b.AskTab(t.Context(), "shop", name, nil)
		_, heard := b.HearTab(name, "ada")
		for _, err := range []error{tabs.Hold("shop", name), tabs.Claim(name, "ada", nil), tabs.Say("shop", name, nil), asked, heard} {
			if !errors.Is(err, fault.New(fault.Malformed, "")) {
				t.Errorf("%q: %v", name, err)
			}
		}
	}
}

// What a tab says comes before the answer to a call that was given after it, in
// order, and only to those who listen to that tab.
func TestTabIsHeardInOrder(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	tabs := b.Tabs()
	const signals = 50
	runTabs(t, tabs, func(_ context.Context, site, session string, _ []byte) ([]byte, error) {
		for i := range signals {
			if err := tabs.Say(site, session, fmt.Appendf(nil, "%d", i)); err != nil {
				return nil, err
			}
		}
		return nil, tabs.Say(site, "bob", []byte("other"))
	}, noClaims)
	if err := tabs.Hold("shop", "ada"); err != nil {
		t.Fatal(err)
	}
	hearing, err := b.HearTab("shop", "ada")
	if err != nil {
		t.Fatal(err)
	}
	defer hearing.Stop()
	if _, err := b.AskTab(t.Context(), "shop", "ada", nil); err != nil {
		t.Fatal(err)
	}
	// All of it is here already: a context that ends soon is enough.
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var got, want []string
	for said := range hearing.All(ctx) {
		if got = append(got, string(said)); len(got) == signals {
			break
		}
	}
	for i := range signals {
		want = append(want, strconv.Itoa(i))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("heard (-want +got):\n%s", diff)
	}
}

func TestClaimReachesEveryGateway(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	heard := make(chan string, 100)
	for _, name := range []string{"one", "two"} {
		answer := func(context.Context, string, string, []byte) ([]byte, error) { return nil, nil }
		runTabs(t, b.Tabs(), answer, func(site, session string, body []byte) {
			heard <- name + ": " + site + "/" + session + " " + string(body)
		})
	}
	claimer := b.Tabs()
	got := map[string]bool{}
	bustest.Until(t, "both hear it", func() bool { // They listen from some moment on.
		if err := claimer.Claim("shop", "ada", []byte("mine")); err != nil {
			t.Fatal(err)
		}
		for len(heard) > 0 {
			got[<-heard] = true
		}
		return len(got) == 2
	})
	if want := map[string]bool{"one: shop/ada mine": true, "two: shop/ada mine": true}; !cmp.Equal(want, got) {
		t.Errorf("heard %v", got)
	}
}
