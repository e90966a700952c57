package salesforce_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/standin/salesforce"
)

// TestQueryOrder: records come in the order that is asked for, and comparisons
// hold for times and ids.
func TestQueryOrder(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)
	org := newOrg(salesforce.Options{Now: func() time.Time { return now }})
	var ids []string
	for i := range 6 {
		ids = append(ids, org.Add("Contact", salesforce.Record{"LastName": strconv.Itoa(5 - i)}))
		now = now.Add(time.Second * time.Duration(i%2))
	}
	at := func(seconds int) string {
		return time.Date(2026, 11, 25, 10, 0, seconds, 0, time.UTC).Format("2006-01-02T15:04:05.000Z")
	}
	for query, want := range map[string]string{
		"SELECT LastName FROM Contact ORDER BY LastName ASC":                                                          "012345",
		"SELECT LastName FROM Contact ORDER BY SystemModstamp ASC, LastName LIMIT 3":                                  "452",
		"SELECT LastName FROM Contact WHERE SystemModstamp > " + at(0) + " AND SystemModstamp < " + at(2):             "32",
		"SELECT LastName FROM Contact WHERE SystemModstamp = " + at(0) + " ORDER BY Id ASC":                           "54",
		"SELECT LastName FROM Contact WHERE Id > '" + ids[3] + "'":                                                    "10",
		"SELECT LastName FROM Contact WHERE SystemModstamp > " + at(9):                                                "",
		"SELECT LastName FROM Contact WHERE LastName != null AND LastName IN ('1','3') ORDER BY LastName ASC LIMIT 1": "1",
	} {
		status, text, _ := ask(t, org, http.MethodGet, data+"/query?q="+url.QueryEscape(query), "")
		var got struct{ Records []struct{ LastName string } }
		if err := json.Unmarshal([]byte(text), &got); err != nil || status != http.StatusOK {
			t.Fatalf("%s: %d %s", query, status, text)
		}
		var names strings.Builder
		for _, r := range got.Records {
			names.WriteString(r.LastName)
		}
		if names.String() != want {
			t.Errorf("%s: %s, want %s", query, names.String(), want)
		}
	}
}
