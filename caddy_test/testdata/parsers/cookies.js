// Reads Cookie headers, one a line in base64, and writes what the package
// "cookie", which Express and many others use, makes of each: a list of
// [name, value] in JSON. The argument is the directory of the package.
'use strict';

const cookie = require(process.argv[2]);
const lines = require('readline').createInterface({ input: process.stdin });

lines.on('line', (line) => {
  // Node hands on the bytes of a header as Latin-1.
  const header = Buffer.from(line, 'base64').toString('latin1');
  console.log(JSON.stringify(Object.entries(cookie.parse(header))));
});
