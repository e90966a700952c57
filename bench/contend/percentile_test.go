package contend

import "testing"

func TestPercentile(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		values []float64
		part   float64
		want   float64
	}{
		{nil, 50, 0},
		{[]float64{3}, 99, 3},
		{[]float64{4, 1, 3, 2}, 50, 2.5},
		{[]float64{5, 4, 3, 2, 1}, 100, 5},
	} {
		if got := Percentile(test.values, test.part); got != test.want {
			t.Errorf("Percentile(%v, %g) = %g, want %g", test.values, test.part, got, test.want)
		}
	}
}
