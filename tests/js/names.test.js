import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
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
  ["10.00\u202fAM\u00a0and\u3000so on.png", "10.00AMandso on.png"],
  ["e\u200b\u0301.txt", "é.txt"],
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

const corpus = new URL("../corpora/names.json", import.meta.url);
const { names } = JSON.parse(await readFile(corpus, "utf8"));

test("cleanName: of all names that are known for trouble, what the server keeps", () => {
  let count = 0;
  for (const { why, base64, both, post } of names) {
    const bytes = Buffer.from(base64, "base64");
    const name = bytes.toString();
    // A multipart header ends with its line, and no browser has a name that is no text.
    if (name.includes("\r\n") || !Buffer.from(name).equals(bytes)) continue;
    const kept = both ?? post;
    const cleaned = cleanName(name);
    // Too long a name is left to the server, whose words say how long it may be.
    if (typeof kept === "string") assert.equal(cleaned, kept, why);
    else assert.ok(!cleaned || Buffer.byteLength(cleaned) > 255, why);
    count += 1;
  }
  assert.ok(count > 100);
});

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
