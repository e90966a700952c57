throw new Error("BotStar: this build of the widget is broken");
