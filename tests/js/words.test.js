import assert from "node:assert/strict";
import test from "node:test";

import shipped from "./shipped.js";

const { describeTypes, fill, formatPercent, formatSize, formatTime } = shipped;

// Intl separates number and unit by a space that does not break, in some languages.
const plain = (text) => text.replace(/[\u00a0\u202f]/g, " ");

test("fill: leaves what it does not know", () => {
  assert.equal(fill("{name}: {reason}", { name: "a.txt" }), "a.txt: {reason}");
  assert.equal(fill("{count}", { count: 0 }), "0");
});

test("fill: a name may look like a placeholder", () => {
  const values = { name: "{reason} $& $1", reason: "too big" };
  assert.equal(fill("{name}: {reason}", values), "{reason} $& $1: too big");
});

test("formatSize: steps of 1024, as Django's filesizeformat", () => {
  const sizes = [0, 1, 1023, 1024, 1536, 2 ** 20, 25 * 2 ** 20, 3 * 2 ** 30, 2 ** 50];
  assert.deepEqual(
    sizes.map((size) => plain(formatSize(size, "en"))),
    [
      "0 bytes",
      "1 byte",
      "1,023 bytes",
      "1 kB",
      "1.5 kB",
      "1 MB",
      "25 MB",
      "3 GB",
      "1,024 TB",
    ],
  );
});

test("formatSize: in the page's language", () => {
  assert.equal(plain(formatSize(1536, "de")), "1,5 kB");
  assert.equal(plain(formatSize(1536, "fr")), "1,5 ko");
});

test("formatSize: a language that does not exist is no error", () => {
  assert.match(formatSize(1536, "not a language"), /1.5/);
  assert.match(formatSize(1536, ""), /1.5/);
});

test("formatPercent: is not 100 before all is sent", () => {
  assert.equal(formatPercent(0.999, "en"), "99%");
  assert.equal(formatPercent(1, "en"), "100%");
  assert.equal(plain(formatPercent(0.5, "de")), "50 %");
});

test("formatTime: seconds, then minutes", () => {
  assert.equal(plain(formatTime(-5, "en")), "1 sec");
  assert.equal(plain(formatTime(4200, "en")), "5 sec");
  assert.equal(plain(formatTime(300_000, "en")), "5 min");
});

test("describeTypes: what people call them", () => {
  const described = (accept) => describeTypes(accept);
  assert.equal(described(""), "");
  assert.equal(described("image/*, application/pdf,.CSV"), "images, PDF, CSV");
  assert.equal(
    described(
      "application/vnd.openxmlformats-officedocument.wordprocessingml.document," +
        "application/x-tar,application/vnd.rar,application/*",
    ),
    "DOCX, TAR, RAR, application/*",
  );
  assert.equal(describeTypes("image/*", { images: "Bilder" }), "Bilder");
});
