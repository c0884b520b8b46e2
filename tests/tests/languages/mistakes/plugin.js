import { Answer, DROP, clock, crypto, decode, http, kv, log, random } from '../sdk/weir.js';

const told = (value) => new Answer(200, {}, String(value));

// What an author from elsewhere tries first, by the header `x-do`.
const TRIES = {
  absent: (request) => request.setHeader('x-a', request.header('nope')),
  unheld: (request) => request.body(),
  late: (request) => request.reroute({ upstream: 'x' }),
  unlisted: () => http.send('nowhere'),
  promise: async () => {},
  response: () => new Response('x'),
  status: () => new Answer('403'),
  object: () => new Answer(200, {}, { a: 1 }),
  value: () => kv.set('a', { b: 1 }),
  secret: () => crypto.hmac('sha256', undefined, 'x'),
  hash: () => crypto.digest('SHA-256', 'x'),
  fetch: () => fetch('http://example.com/'),
  timer: () => setTimeout(() => {}, 1),
  thrown() {
    throw new RangeError('too many');
  },
  words() {
    throw 'no more words';
  },
  missing: (request) => request.nothing.more,
  deep: () => TRIES.deep() + 1,
  // These work.
  pairs: () => new Answer(403, new Headers({ 'x-a': 'b' })),
  printed: () => console.warn('see', { a: 1 }),
  logged: () => log.info('logged'),
  time: () => told([Date.now(), new Date()].every((now) => Math.abs(now - clock.now()) < 1000)),
  chance() {
    const seen = [Math.random(), globalThis.crypto.randomUUID(), random.fraction()].join();
    return told(new Set(seen.split(',')).size);
  },
};

export default class Tries {
  onRequest(request) {
    return TRIES[request.header('x-do')](request);
  }

  onResponseBody(chunk) {
    this.held = (this.held ?? '') + decode(chunk.data());
    if (!chunk.isLast) return DROP;
    const whole = this.held.replace('secret', 'xxxxxx');
    this.held = '';
    return whole === 'none' ? 5 : whole;
  }
}
