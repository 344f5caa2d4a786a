// What every page does.

import { showTimes } from "./times.js";

showTimes(document);

// What was done is said once, not again at every reload.
const address = new URL(location.href);
if (address.searchParams.has("done")) {
  address.searchParams.delete("done");
  history.replaceState(null, "", address);
}
