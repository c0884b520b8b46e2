// What JavaScript has of its own, made of the host's. Without WASI its clock would stand still, its random
// numbers would be the same in each instance, and what it prints would be lost. Where there is no host yet,
// as while the module is built, each is JavaScript's own. For it to hold for a plugin's imports too, it is
// imported first.

import { clock, hex, hosted, log, random } from './weir.js';

/** The host's, once there is one. */
const either = (own, hosts) => (...given) => (hosted() ? hosts(...given) : own(...given));

const OwnDate = Date;
OwnDate.now = either(OwnDate.now, clock.now);
globalThis.Date = new Proxy(OwnDate, {
  construct: (Own, given, as) =>
    Reflect.construct(Own, given.length === 0 ? [OwnDate.now()] : given, as),
  apply: () => new OwnDate(OwnDate.now()).toString(),
});
performance.now = either(performance.now.bind(performance), () => Number(clock.monotonic()) / 1e6);

Math.random = either(Math.random, random.fraction);
const { crypto } = globalThis;
const fill = (array) => {
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  for (let at = 0; at < bytes.length; at += 4096) {
    bytes.set(random.bytes(Math.min(4096, bytes.length - at)), at);
  }
  return array;
};
crypto.getRandomValues = either(crypto.getRandomValues.bind(crypto), fill);
crypto.randomUUID = () => {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  return hex(bytes).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
};

const shown = (value) => {
  if (typeof value === 'string' || value instanceof Error) return String(value);
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
};
for (const level of ['trace', 'debug', 'info', 'warn', 'error']) {
  console[level] = either(console[level].bind(console), (...all) =>
    log[level](all.map(shown).join(' ')),
  );
}
console.log = console.info;

const none = (name, instead) => {
  globalThis[name] = () => {
    throw new Error(`${name}: there is none in the sandbox; ${instead}`);
  };
};
none('fetch', 'calls to upstreams are `http.send`');
for (const name of ['setTimeout', 'setInterval']) none(name, 'a hook runs to its end at once');
