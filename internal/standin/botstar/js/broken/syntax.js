(function () { return { "BotStar": 
