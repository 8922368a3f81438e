/** The module as it is shipped, from the package's own folder. */

import { readFile } from "node:fs/promises";

const place = new URL(
  "../../session_attachments/static/session_attachments/attachments.js",
  import.meta.url,
);

async function load() {
  try {
    return await import(place);
  } catch {
    // Before version 20.19, Node takes it for CommonJS by its name.
    const source = await readFile(place, "base64");
    return import(`data:text/javascript;base64,${source}`);
  }
}

export default await load();
