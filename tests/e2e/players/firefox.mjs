// Firefox for a test: opens a page and calls functions in it, one for each line of JSON on standard input
// ({ script, argument }); answers { result } or { error } on standard output. Ends with its input.
import { createInterface } from 'node:readline';

import { launch } from 'puppeteer-core';

const [executablePath, address] = process.argv.slice(2);
const browser = await launch({
  browser: 'firefox',
  executablePath,
  headless: true,
  extraPrefsFirefox: { 'media.autoplay.default': 0, 'media.hardware-video-decoding.enabled': false },
});
try {
  const page = await browser.newPage();
  await page.goto(address, { waitUntil: 'load' });
  for await (const line of createInterface({ input: process.stdin })) {
    const { script, argument } = JSON.parse(line);
    let answer;
    try {
      answer = { result: (await page.evaluate(`(${script})(${JSON.stringify(argument)})`)) ?? null };
    } catch (error) {
      answer = { error: String(error) };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
} finally {
  await browser.close();
}
