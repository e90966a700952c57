package botstar

import "time"

// hookBody is what a webhook sends (§4.2: no source prints a payload, so this is
// a superset of what the receivers of others look for).
type hookBody struct {
	ID          string    `json:"id"`
	Event       string    `json:"event"`
	Environment string    `json:"environment"`
	BotID       string    `json:"bot_id"`
	User        *HookUser `json:"user,omitempty"`
	Timestamp   string    `json:"timestamp"`

	CheckpointName  string         `json:"checkpoint_name,omitempty"`
	CheckpointData  map[string]any `json:"checkpoint_data,omitempty"`
	Attribute       string         `json:"attribute,omitempty"`
	AttributeValue  any            `json:"attribute_value,omitempty"`
	Tag             string         `json:"tag,omitempty"`
	EntityID        string         `json:"entity_id,omitempty"`
	ItemID          string         `json:"item_id,omitempty"`
	BlockID         string         `json:"block_id,omitempty"`
	CaptureResponse string         `json:"capture_response,omitempty"`
}

// unknownHookBody returns the body of a webhook. An item of the CMS is nobody's.
func unknownHookBody(bot string, h Happening) hookBody {
	body := hookBody{
		ID: h.ID, Event: unknownHookName(h.Event), Environment: h.Environment, BotID: bot,
		Timestamp:      h.At.UTC().Format(time.RFC3339Nano),
		CheckpointName: h.Checkpoint, CheckpointData: h.CheckpointData, Attribute: h.Attribute, AttributeValue: h.Value,
		Tag: h.Tag, EntityID: h.Entity, ItemID: h.Item, BlockID: h.Block, CaptureResponse: h.Response,
	}
	if h.User.ID != "" {
		body.User = &h.User
	}
	return body
}

// unknownHookName returns the event's name on the wire (§4.2: the first of the
// names that a receiver of others accepts).
func unknownHookName(event HookEvent) string {
	switch event {
	case HookCheckpoint:
		return "new_checkpoint_record"
	case HookSubscriber:
		return "new_subscriber"
	case HookAttribute:
		return "updated_user_attribute"
	case HookTakeover:
		return "human_takeover"
	case HookTag:
		return "new_tag"
	case HookCMSItem:
		return "new_cms_item"
	case HookCapture:
		return "user_capture_response"
	}
	return string(event)
}
