package app

import (
	"cmp"

	"github.com/parley-chat/parley/internal/standin/salesforce"
)

// Where the stand-ins are that devToken tells of.
const (
	devOrg     = "demo.my.salesforce.com"
	devCompany = "demo.pipedrive.com"
)

// devValid reports whether the token is that of the stand-ins.
func devValid(token string) bool { return token == devToken{}.Reveal() }

// prepareOrg makes the fields that an administrator makes in a real org: see
// docs/crm-salesforce.md.
func prepareOrg(org *salesforce.Org, settings map[string]string) {
	key := func(setting string) salesforce.Field {
		return salesforce.Field{
			Name: cmp.Or(settings[setting], "Parley_Key__c"), Type: "string", Length: 64, ExternalID: true, Unique: true,
		}
	}
	for _, object := range []string{"Contact", "Lead"} {
		org.AddFields(object, key("key"), salesforce.Field{Name: cmp.Or(settings["seq"], "Parley_Seq__c"), Type: "double"})
	}
	org.AddFields("Task", key("activity_key"))
	org.AddFields("Case", key("case_key"))
	if event := settings["event_type"]; event != "" {
		org.AddEvent(event, salesforce.Field{Name: "Key__c", Type: "string", Length: 64}, salesforce.Field{Name: "Seq__c", Type: "double"},
			salesforce.Field{Name: "Subject__c", Type: "string", Length: 255}, salesforce.Field{Name: "Text__c", Type: "textarea", Length: 32_000})
	}
}
