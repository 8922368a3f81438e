import assert from "node:assert/strict";
import test from "node:test";

import shipped from "./shipped.js";

const { badge, cleanName, uniqueName } = shipped;

for (const [name, expected] of [
  ["spam.txt", "spam.txt"],
  ["  spam.txt ", "spam.txt"],
  ["folder/spam.txt", "spam.txt"],
  ["C:\\folder\\spam.txt", "spam.txt"],
  ["u\u0308ber.txt", "über.txt"],
  ["sp\u0000a\u202em\n.txt", "spam.txt"],
  ["\ud800spam.txt", "spam.txt"],
  ["50 % #1?.txt", "50 % #1?.txt"],
  ["delete", "delete"],
  [".", ""],
  ["a/..", ""],
  ["a/", ""],
  [" ", ""],
]) {
  test(`cleanName: ${JSON.stringify(name)}`, () => {
    assert.equal(cleanName(name), expected);
    encodeURIComponent(cleanName(name));
  });
}

for (const [name, taken, expected] of [
  ["a.txt", [], "a.txt"],
  ["a.txt", ["a.txt"], "a (2).txt"],
  ["a.txt", ["a.txt", "a (2).txt"], "a (3).txt"],
  ["a.tar.gz", ["a.tar.gz"], "a (2).tar.gz"],
  ["README", ["README"], "README (2)"],
  [".profile", [".profile"], ".profile (2)"],
]) {
  test(`uniqueName: ${name} among ${taken.join(", ") || "none"}`, () => {
    assert.equal(
      uniqueName(name, (each) => taken.includes(each)),
      expected,
    );
  });
}

test("badge: a short extension", () => {
  const names = ["a.pdf", "a.tar.gz", "README", ".env", "a.markdown", "a.ünü", "a."];
  assert.deepEqual(names.map(badge), ["PDF", "GZ", "", "", "", "", ""]);
});
