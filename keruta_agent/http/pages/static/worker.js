// Holds the event streams for all windows of a browser, for as long as one of them is open.

import { Hub } from "./hub.js";

const hub = new Hub();

addEventListener("connect", (event) => hub.serve(event.ports[0]));
