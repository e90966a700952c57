package shop

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"math"
	"math/rand/v2"
	"net/http"
	"sync"

	"github.com/parley-chat/parley/internal/standin"
)

// lazily serves what paint returns, which is called once, at the first request.
func lazily(paint func() *standin.Blob) http.Handler {
	once := sync.OnceValue(paint)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { once().ServeHTTP(w, r) })
}

// photo returns a JPEG of about 25 KB: hills in the haze, other ones for each
// seed.
func photo(seed uint64) []byte {
	const width, height = 640, 420
	random := rand.New(rand.NewPCG(seed, 7))
	phase, hue := random.Float64()*6, random.Float64()
	picture := image.NewRGBA(image.Rect(0, 0, width, height))
	for x := range width {
		u := float64(x) / width
		ridges := [4]float64{}
		for i := range ridges {
			k := float64(i)
			ridges[i] = height * (.38 + .16*k + .07*math.Sin(phase+3*u*(k+1)+k) + .03*math.Sin(11*u+phase*k))
		}
		for y := range height {
			layer := 0.0
			for _, ridge := range ridges {
				if float64(y) > ridge {
					layer++
				}
			}
			light := 1 - layer/5 - .25*float64(y)/height + .03*random.NormFloat64()
			picture.SetRGBA(x, y, color.RGBA{
				R: tone(light * (.75 + .25*hue)), G: tone(light * .92), B: tone(light*.8 + .16), A: 255,
			})
		}
	}
	var out bytes.Buffer
	if err := jpeg.Encode(&out, picture, &jpeg.Options{Quality: 60}); err != nil {
		return nil // A buffer takes everything.
	}
	return out.Bytes()
}

func tone(v float64) uint8 { return uint8(255 * min(1, max(0, v))) }
