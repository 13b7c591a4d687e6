// The scripts add comfort; every page works without them.
import "./zone.js";
import "./poll.js";
import "./search.js";
import "./complete.js";
import "./confirm.js";
import "./refresh.js";
