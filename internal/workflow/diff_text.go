package workflow

import (
	"fmt"
	"slices"
	"strings"
)

// edit is one line of an edit script: ' ' is kept, '-' removed, '+' added.
type edit struct {
	op   byte
	text string
}

// most bounds the work of a comparison, in pairs of lines; beyond it everything
// between the common beginning and the common end counts as changed.
const most = 4_000_000

// script returns how to make b of a, with the longest common part kept.
func script(a, b []string) []edit {
	var head, tail []edit
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		head = append(head, edit{' ', a[0]})
		a, b = a[1:], b[1:]
	}
	end := 0
	for end < len(a) && end < len(b) && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	for _, line := range a[len(a)-end:] {
		tail = append(tail, edit{' ', line})
	}
	a, b = a[:len(a)-end], b[:len(b)-end]
	return append(append(head, middle(a, b)...), tail...)
}

// middle is script for parts that begin and end differently.
func middle(a, b []string) []edit {
	var edits []edit
	if len(a)*len(b) > most {
		for _, line := range a {
			edits = append(edits, edit{'-', line})
		}
		for _, line := range b {
			edits = append(edits, edit{'+', line})
		}
		return edits
	}
	width := len(b) + 1
	common := make([]int, (len(a)+1)*width) // the longest common part of what is left
	for i := range slices.Backward(a) {
		for j := range slices.Backward(b) {
			if a[i] == b[j] {
				common[i*width+j] = common[(i+1)*width+j+1] + 1
			} else {
				common[i*width+j] = max(common[(i+1)*width+j], common[i*width+j+1])
			}
		}
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			edits = append(edits, edit{' ', a[i]})
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[(i+1)*width+j] >= common[i*width+j+1]:
			edits = append(edits, edit{'-', a[i]})
			i++
		default:
			edits = append(edits, edit{'+', b[j]})
			j++
		}
	}
	return edits
}

// around is how many lines stand around a change.
const around = 2

// DiffText returns the lines in which two texts differ, in the unified form, or
// "" when they are the same.
func DiffText(nameA, a, nameB, b string) string {
	edits := script(lines(a), lines(b))
	var out strings.Builder
	for start := 0; start < len(edits); {
		if edits[start].op == ' ' {
			start++
			continue
		}
		from, to := max(0, start-around), hunkEnd(edits, start)
		if out.Len() == 0 {
			fmt.Fprintf(&out, "--- %s\n+++ %s\n", nameA, nameB)
		}
		countA, countB := count(edits[:from], '+'), count(edits[:from], '-')
		fmt.Fprintf(&out, "@@ -%d,%d +%d,%d @@\n",
			countA+1, count(edits[from:to], '+'), countB+1, count(edits[from:to], '-'))
		for _, e := range edits[from:to] {
			fmt.Fprintf(&out, "%c%s\n", e.op, e.text)
		}
		start = to
	}
	return out.String()
}

// hunkEnd returns where the changes that begin at start end, with the lines
// after them.
func hunkEnd(edits []edit, start int) int {
	last := start
	for i := start; i < len(edits) && i-last <= 2*around; i++ {
		if edits[i].op != ' ' {
			last = i
		}
	}
	return min(len(edits), last+1+around)
}

// count returns how many edits are not of the op.
func count(edits []edit, op byte) int {
	n := 0
	for _, e := range edits {
		if e.op != op {
			n++
		}
	}
	return n
}

func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}
