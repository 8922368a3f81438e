import assert from "node:assert/strict";
import test from "node:test";

import shipped from "./shipped.js";

const { Limits, accepts } = shipped;

const file = (name, type = "", size = 5) => ({ name, type, size });

test("limits: none refuse nothing", () => {
  assert.equal(new Limits().refuse(file("a.txt"), 1e6), null);
});

test("limits: exact to the byte", () => {
  const limits = new Limits({ maxSize: 5 });
  assert.equal(limits.refuse(file("a.txt", "", 5)), null);
  const refused = limits.refuse(file("a.txt", "", 6));
  assert.deepEqual(refused, { code: "tooLarge", bytes: 5 });
});

test("limits: exact to the file, and says how many", () => {
  const limits = new Limits({ maxFiles: 3 });
  assert.equal(limits.refuse(file("a.txt"), 2), null);
  const refused = limits.refuse(file("a.txt"), 3);
  assert.deepEqual(refused, { code: "tooMany", values: { limit: 3 } });
  assert.equal(new Limits({ maxFiles: 1 }).refuse(file("a.txt"), 1).code, "onlyOne");
  assert.equal(new Limits({ maxFiles: 0 }).refuse(file("a.txt"), 0).code, "tooMany");
});

test("limits: types, with what is accepted", () => {
  const limits = new Limits({ accept: "image/*" });
  assert.equal(limits.refuse(file("a.png", "image/png")), null);
  const refused = limits.refuse(file("a.pdf", "application/pdf"));
  assert.deepEqual(refused, { code: "wrongType", accept: "image/*" });
});

for (const [accept, name, type, expected] of [
  ["", "a.exe", "application/x-msdownload", true],
  [" , ", "a.exe", "application/x-msdownload", true],
  ["image/*", "a.exe", "application/x-msdownload", false],
  ["image/*,application/pdf", "a.pdf", "application/pdf", true],
  ["IMAGE/*", "a.PNG", "Image/PNG", true],
  ["image/*", "a.mp4", "video/mp4", false],
  ["application/pdf", "a.pdfx", "application/pdfx", false],
  ["application/*+xml", "a.xml", "application/atom+xml", true],
  // Endings, as HTML knows them.
  [".pdf", "A.PDF", "", true],
  [".pdf", "a.txt", "", false],
  // A browser that does not know leaves it to the server, which looks into the file.
  ["application/pdf", "a", "", true],
  ["application/pdf", "a.bin", "application/octet-stream", true],
  // The same type by another name.
  ["application/zip", "a.zip", "application/x-zip-compressed", true],
  ["image/jpeg", "a.jpg", "image/pjpeg", true],
  // A table is Excel's, where Excel is installed.
  ["text/csv", "a.csv", "application/vnd.ms-excel", true],
  ["text/plain", "a.csv", "application/vnd.ms-excel", true],
  ["text/csv", "a.xls", "application/vnd.ms-excel", false],
  ["text/*", "a.ts", "video/mp2t", true],
  ["text/plain", "a.ts", "video/mp2t", true],
  ["image/*", "a.ts", "video/mp2t", false],
  ["text/rtf", "a.rtf", "application/rtf", true],
  ["text/rtf", "a.rtf", "application/msword", true],
  ["audio/mp4", "a.m4a", "audio/x-m4a", true],
  ["application/x-rar", "a.rar", "application/vnd.rar", true],
  // Who looks into an Office document may see a zip; it is no other way round.
  [
    "application/zip",
    "a.docx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    true,
  ],
  ["application/zip", "a.odt", "application/vnd.oasis.opendocument.text", true],
  ["application/epub+zip", "a.zip", "application/zip", false],
  ["application/zip", "a.doc", "application/msword", false],
  // What is called some text may be any other, but no picture.
  ["text/plain", "notes.md", "text/markdown", true],
  ["text/plain", "a.py", "text/x-python", true],
  ["text/plain", "a.log", "text/x-log", true],
  ["text/plain", "a.sh", "application/x-sh", true],
  ["text/plain", "a.js", "application/javascript", true],
  ["text/plain", "a.json", "application/json", true],
  ["text/x-script.python", "a.py", "text/x-python-script", true],
  ["image/*,application/pdf", "notes.md", "text/markdown", false],
  ["text/plain", "a.pdf", "application/pdf", false],
  ["text/plain", "a.svg", "image/svg+xml", false],
  ["text/plain", "a.swf", "application/x-shockwave-flash", false],
  ["application/json", "a.json", "text/plain", true],
  ["text/csv", "a.txt", "text/plain", true],
  ["image/*,application/pdf", "a.txt", "text/plain", false],
]) {
  test(`accepts: "${accept}", ${name}, "${type}": ${expected}`, () => {
    assert.equal(accepts(accept, { name, type }), expected);
  });
}
