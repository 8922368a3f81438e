import assert from "node:assert/strict";
import test from "node:test";

import shipped from "./shipped.js";

const { Announcer } = shipped;

function announced(tell, options = {}) {
  const said = [];
  const announcer = new Announcer({ say: (text) => said.push(text), ...options });
  tell(announcer);
  announcer.flush();
  return said;
}

test("each step by its name", () => {
  assert.deepEqual(
    announced((announcer) => {
      announcer.tell("started", "a.txt");
      announcer.tell("removed", "b.txt");
      announcer.tell("failed", "c.txt", "Too large.");
    }),
    ["a.txt is being uploaded", "b.txt has been removed", "c.txt: Too large."],
  );
});

test("what started and finished in one moment has finished", () => {
  assert.deepEqual(
    announced((announcer) => {
      announcer.tell("started", "a.txt");
      announcer.tell("finished", "a.txt");
    }),
    ["a.txt has been uploaded"],
  );
});

test("of many files their number", () => {
  const names = ["a", "b", "c", "d"];
  assert.deepEqual(
    announced((announcer) => {
      for (const name of names) announcer.tell("started", name);
    }),
    ["Files being uploaded: 4"],
  );
});

test("of many refusals the reasons are said: they differ", () => {
  const said = announced((announcer) => {
    for (const name of ["a", "b", "c"]) announcer.tell("failed", name, `${name}!`);
  });
  assert.deepEqual(said, ["a: a!", "b: b!", "c: c!"]);
});

test("in the page's words, after a moment", async () => {
  const said = [];
  const announcer = new Announcer({
    say: (text) => said.push(text),
    texts: () => ({ removed: "{name} ist weg" }),
    delay: 5,
  });
  announcer.tell("removed", "a.txt");
  assert.deepEqual(said, []);
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.deepEqual(said, ["a.txt ist weg"]);
});
