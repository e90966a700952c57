package snippet

// Version is parley.js's own, told in its hello.
const Version = "1.0.0"
