package shop

// words are the texts of the product page.
type words struct {
	Steps   []step
	Figures []figure
	Voices  []voice
}

type step struct{ Icon, Title, Text string }

type figure struct{ What, Solo, Team, Company string }

type voice struct{ Text, Name, Shop string }

func newWords() words {
	return words{
		Steps: []step{
			{"\ue000", "It arrives", "By e-mail, chat, or through a marketplace: one list, the oldest promise on top."},
			{"\ue001", "It finds its order", "The address, the name or a number in the text is enough. If two orders fit, both are shown."},
			{"\ue002", "It gets an owner", "By shop, by language, by who is at the desk. Nobody picks the easy ones first."},
			{"\ue003", "It gets an answer", "A draft stands ready, with the facts in it. You read it, change a word, and send it."},
			{"\ue004", "It is remembered", "The next person who asks gets the same answer, in the same voice."},
			{"\ue005", "It is counted", "What people ask about goes to the people who can change it, once a week, on one page."},
		},
		Figures: []figure{
			{"People", "1", "5, then €9 each", "25, then €7 each"},
			{"Channels", "3", "all", "all"},
			{"Conversations kept", "1 year", "3 years", "as long as you want"},
			{"Answers of the assistant", "10", "without limit", "without limit"},
			{"Languages", "2", "24", "24"},
			{"Shops", "1", "3", "without limit"},
			{"Reports", "–", "by week", "by day, and as a file"},
			{"Sign-on", "password", "password or passkey", "your own directory"},
			{"Support", "by chat", "by chat within 2 hours", "a person to call"},
		},
		Voices: []voice{
			{"We were nine people with nine lists. Now there is one list, and on Fridays it is empty.", "Marit", "a bicycle shop"},
			{"The draft is right four times out of five. The fifth time it asks, and that is what I like.", "Jonas", "tea by post"},
			{"My warehouse stopped calling me. They see the question before I do.", "Ewa", "wool and needles"},
			{"I tried it on a Sunday, and on Monday the whole team was in.", "Piet", "second-hand lenses"},
			{"Customers notice that we know their order. They say so.", "Nadia", "shoes in odd sizes"},
			{"I went on holiday. Nobody noticed. I am not sure how I feel about that.", "Luc", "board games"},
		},
	}
}
