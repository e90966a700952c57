package bus

import "testing"

func TestOverlap(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"cq.>", "cq.*.*.botstar.widget.*.*.*", true},
		{"cq.*.*.botstar.widget.*.*.*", "cq.*.*.botstar.user.*.*.*", false},
		{"cq.*.*.botstar.widget.*.*.*", "cq.*.*.botstar.*.open.*.*", true},
		{"cq.*.*.botstar.widget.open.*.*", "cq.*.*.botstar.widget.close.*.*", false},
		{"cq.*.*.botstar.*.*.*.*", "cq.*.*.tidio.*.*.*.*", false},
		{"cq.1.>", "cq.*.r.>", true},
		{"cq.1.>", "cq.2.>", false},
		{"a.b", "a.b.c", false},
		{"a.*", "a.b", true},
		{">", "anything.at.all", true},
		{"a.>", "a", false},
	} {
		for _, pair := range [][2]string{{test.a, test.b}, {test.b, test.a}} {
			if got := overlap([]string{"z", pair[0]}, []string{pair[1]}); got != test.want {
				t.Errorf("overlap(%q, %q) = %t", pair[0], pair[1], got)
			}
		}
	}
}

func TestLaneOf(t *testing.T) {
	t.Parallel()
	for subject, want := range map[string]string{
		"cq.13.w.botstar.widget.open.shop.s1": "shop.s1",
		"res.botstar.widget.open.shop.s1":     "shop.s1",
		"a.b":                                 "a.b",
		"a":                                   "a",
	} {
		if got := laneOf(subject); got != want {
			t.Errorf("laneOf(%q) = %q, want %q", subject, got, want)
		}
	}
}
