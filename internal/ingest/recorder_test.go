package ingest_test

import (
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/parley-chat/parley/internal/ingest"
)

// serve sends an event to the source "web" of the edge, without a network.
func serve(edge *ingest.Edge, body string) answer {
	request := httptest.NewRequest(http.MethodPost, "/in/web", strings.NewReader(body))
	request.Header.Set("Authorization", "Bearer "+secret)
	request.Header.Set("Content-Type", ingest.MediaJSON)
	recorder := httptest.NewRecorder()
	edge.ServeHTTP(recorder, request)
	return answer{recorder.Code, recorder.Header(), recorder.Body.String()}
}
