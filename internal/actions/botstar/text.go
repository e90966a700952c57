package botstar

import (
	"context"
	"strings"
	"time"
)

// clip returns at most n characters of the text. What is not UTF-8 becomes the
// replacement character.
func clip(text string, n int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	count := 0
	for i := range text {
		if count == n {
			return text[:i] + "…"
		}
		count++
	}
	return text
}

// answerTime is what the page's answer needs to get here, on a busy machine.
const answerTime = 150 * time.Millisecond

// waitMS returns how long the page may wait for something, in milliseconds: at
// most as long as given, and never up to the end of ctx, so that the page's own
// answer, which says what was missing, comes before the deadline.
func waitMS(ctx context.Context, most time.Duration) int64 {
	if end, ok := ctx.Deadline(); ok {
		left := time.Until(end)
		most = min(most, left-max(left/10, answerTime))
	}
	return max(most.Milliseconds(), 1)
}
