package session_test

import (
	"fmt"
	"time"

	"github.com/parley-chat/parley/internal/session"
)

// A worker with two tabs serves three visitors. The policy says what to do; the
// caller does it, and says what happened.
func ExampleResidency() {
	policy := session.NewResidency(session.ResidencyOptions{Held: 2, Idle: time.Minute})
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	steps := func() {
		for step, ok := policy.Next(now); ok; step, ok = policy.Next(now) {
			switch step.Do {
			case session.OpenTab:
				fmt.Println("open", step.Key)
			case session.CloseTab:
				fmt.Println("close", step.Key, "because", step.Why)
				policy.Closed(step.Key)
			case session.RefuseTab:
				fmt.Println("refuse", step.Key, step.Err)
			}
		}
	}
	command := func(visitor string) {
		now = now.Add(time.Second)
		if open, err := policy.Want(now, visitor, "shop", now.Add(10*time.Second)); err != nil {
			fmt.Println("refused", visitor, err)
		} else if open {
			fmt.Println("warm", visitor)
		}
		steps()
		policy.End(now, visitor)
	}
	for _, visitor := range []string{"ann", "ann", "bob", "cleo"} {
		command(visitor)
	}
	at, _ := policy.Wake()
	now = at
	fmt.Println("after", now.Format("04:05"))
	steps()
	// Output:
	// open ann
	// warm ann
	// open bob
	// close bob because evicted
	// open cleo
	// after 01:02
	// close ann because idle
}
