package workflow

import (
	"strings"
	_ "time/tzdata" // so that a schedule means the same in a container without zones.

	"github.com/parley-chat/parley/internal/fault"
)

// nearZone returns the well-known zone that a person may have meant, or "".
func nearZone(name string) string {
	known := []string{
		"UTC", "Europe/London", "Europe/Dublin", "Europe/Lisbon", "Europe/Berlin", "Europe/Paris", "Europe/Madrid",
		"Europe/Rome", "Europe/Vienna", "Europe/Zurich", "Europe/Amsterdam", "Europe/Brussels", "Europe/Copenhagen",
		"Europe/Stockholm", "Europe/Oslo", "Europe/Helsinki", "Europe/Warsaw", "Europe/Prague", "Europe/Athens",
		"Europe/Istanbul", "Europe/Kyiv", "America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles",
		"America/Toronto", "America/Mexico_City", "America/Sao_Paulo", "America/Bogota", "Asia/Dubai", "Asia/Kolkata",
		"Asia/Singapore", "Asia/Bangkok", "Asia/Ho_Chi_Minh", "Asia/Jakarta", "Asia/Manila", "Asia/Shanghai",
		"Asia/Hong_Kong", "Asia/Tokyo", "Asia/Seoul", "Australia/Sydney", "Australia/Perth", "Pacific/Auckland",
		"Africa/Cairo", "Africa/Johannesburg", "Africa/Lagos", "Africa/Nairobi",
	}
	for _, zone := range known {
		_, city, _ := strings.Cut(zone, "/")
		if strings.EqualFold(zone, name) || strings.EqualFold(city, strings.ReplaceAll(name, " ", "_")) {
			return zone
		}
	}
	return fault.Nearest(name, known)
}
