// Writes a source in TypeScript that type-checks only where the SDK in `sdk/` of this folder and its types have
// the same members: one that the types lack is a fault there, and so is one that they have made up.

import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const load = (file) => import(pathToFileURL(file));
const sdk = await load('sdk/weir.js');
const testing = await load('sdk/testing.js');
const { bind } = await load('sdk/bind.js');

/** What other files of the SDK import, and no plugin. */
const INTERNAL = ['useHost', 'hosted', 'panicked', 'kind', 'fields', 'ask'];

/** What instances of a class have. */
function methods(Class) {
  const names = new Set();
  for (let from = Class.prototype; from !== Object.prototype; from = Object.getPrototypeOf(from)) {
    Object.getOwnPropertyNames(from).forEach((name) => names.add(name));
  }
  names.delete('constructor');
  return [...names];
}

/** The words of an enum of the contract; those that hold another error's have its word. */
function words(wit, name) {
  const bodies = [...wit.matchAll(new RegExp(`(?:enum|variant) ${name} \\{([^}]*)\\}`, 'g'))];
  const all = bodies.flatMap(([, body]) => body.replace(/\/\/\/.*/g, '').split(','));
  const own = all.map((word) => word.trim()).filter((word) => word && !word.endsWith('-error)'));
  return [...new Set(own.map((word) => word.replace(/\(.*\)/, '')))];
}

const host = { httpClient: { send: () => ({}) }, metrics: { counter() {}, gauge() {}, histogram() {} } };
sdk.useHost(host);
const wit = readFileSync('sdk/wit/weir.wit', 'utf8');
const described = readFileSync('sdk/weir.js', 'utf8').matchAll(/^\/\/ {5}static (\w+)/gm);
const hooks = Object.keys(bind(class { onRequest() {} })).filter((name) => name.startsWith('on'));
const own = Object.keys(sdk).filter((name) => !INTERNAL.includes(name));

/** Types, and the keys that they are to have. */
const all = [
  ['keyof typeof sdk', own],
  ['keyof typeof testing', Object.keys(testing)],
  ['keyof sdk.Plugin', hooks],
  ['keyof sdk.PluginClass', [...described].map(([, name]) => name)],
  ['keyof sdk.Answer', Object.keys(new sdk.Answer(200))],
  ['Exclude<keyof sdk.Refused, keyof Error>', ['reason']],
  ['keyof sdk.Reply', methods(sdk.http.send('upstream').constructor)],
  ['keyof sdk.Counter', Object.keys(sdk.metrics.counter())],
  ['keyof sdk.Gauge', Object.keys(sdk.metrics.gauge())],
  ['keyof sdk.Histogram', Object.keys(sdk.metrics.histogram())],
  ['keyof typeof sdk.span.upstream', Object.keys(sdk.span.upstream)],
  ...['Request', 'Response', 'Chunk'].map((name) => [`keyof sdk.${name}`, methods(sdk[name])]),
  ...own
    .filter((name) => typeof sdk[name] === 'object')
    .map((name) => [`keyof typeof sdk.${name}`, Object.keys(sdk[name])]),
  ['sdk.Reason', words(wit, '(?:\\w+-)?error')],
  ['sdk.Hash', words(wit, 'hash')],
  ['sdk.Algorithm', words(wit, 'algorithm')],
  ['sdk.PublicKey["tag"]', words(wit, 'public-key')],
  ['sdk.CallKind', words(wit, 'call-kind')],
];

console.log("import * as sdk from '../sdk/weir.js';\nimport * as testing from '../sdk/testing.js';");
for (const [type, names] of all) {
  if (names.length === 0) throw new Error(`${type}: nothing to compare`);
  const entries = names.map((name) => `${JSON.stringify(name)}: 1`);
  console.log(`({ ${entries.join(', ')} }) satisfies Record<${type}, 1>;`);
}
