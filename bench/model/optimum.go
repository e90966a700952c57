package model

import (
	"container/heap"
	"container/list"
)

// Belady returns how often a session must get a place, at least, when there are
// that many places and all commands are known before: the one that gives way is
// always the one whose next command is farthest away.
func Belady(sessions []int, places int) int {
	next := nextUses(sessions)
	held := map[int]int{} // the next use by session
	far := &farthest{}
	gets := 0
	for i, session := range sessions {
		if _, ok := held[session]; !ok {
			gets++
			for len(held) >= places {
				u, _ := heap.Pop(far).(use)
				if at, ok := held[u.session]; ok && at == u.at {
					delete(held, u.session)
				}
			}
		}
		held[session] = next[i]
		heap.Push(far, use{session: session, at: next[i]})
	}
	return gets
}

// nextUses returns for each command the index of the session's next one, or an
// index behind all.
func nextUses(sessions []int) []int {
	next := make([]int, len(sessions))
	last := map[int]int{}
	for i := len(sessions) - 1; i >= 0; i-- {
		next[i] = len(sessions) + i
		if at, ok := last[sessions[i]]; ok {
			next[i] = at
		}
		last[sessions[i]] = i
	}
	return next
}

// LeastRecent returns how often a session gets a place when the one whose last
// command is farthest back gives way.
func LeastRecent(sessions []int, places int) int {
	recent, held := list.New(), map[int]*list.Element{}
	gets := 0
	for _, session := range sessions {
		if at, ok := held[session]; ok {
			recent.MoveToFront(at)
			continue
		}
		gets++
		if recent.Len() >= places {
			oldest, _ := recent.Remove(recent.Back()).(int)
			delete(held, oldest)
		}
		held[session] = recent.PushFront(session)
	}
	return gets
}

// use is a session's next use.
type use struct{ session, at int }

// farthest is a heap of uses, the farthest first. Those that are over stay in it
// until they come up.
type farthest []use

func (h *farthest) Len() int           { return len(*h) }
func (h *farthest) Less(i, j int) bool { return (*h)[i].at > (*h)[j].at }
func (h *farthest) Swap(i, j int)      { (*h)[i], (*h)[j] = (*h)[j], (*h)[i] }

// Push adds a use. It is for container/heap.
func (h *farthest) Push(x any) {
	u, _ := x.(use)
	*h = append(*h, u)
}

// Pop takes the last use. It is for container/heap.
func (h *farthest) Pop() any {
	last := len(*h) - 1
	u := (*h)[last]
	*h = (*h)[:last]
	return u
}
