// The types of `weir.js`: for editors, and for `tsc` (see docs/plugins-in-javascript.md). What each call
// means to the end is in `wit/weir.wit`; what is refused there is thrown here as `Refused`, with its word.
//
//   /** @import { Plugin, Request } from '../sdk/weir.js' */
//
//   /** @implements {Plugin} */
//   export default class Tag {
//     /** @param {Request} request */
//     onRequest(request) {}
//   }

/** What a text can stand for. */
export type Text = string | number | bigint | boolean;

/** Text, which becomes UTF-8, or bytes. */
export type Data = Text | Uint8Array | ArrayBuffer;

/** Fields: an object whose values are texts or lists of texts, or pairs. */
export type Fields =
  | { readonly [name: string]: Text | readonly Text[] }
  | Iterable<readonly [name: string, value: Text | readonly Text[]]>;

/** What a hook of a head returns: nothing to go on, or what is sent instead. A promise fails the hook. */
export type Action = Answer | void;

/**
 * What becomes of a piece: nothing lets it pass, text or bytes go on instead of it, `DROP` sends nothing
 * instead, `ABORT` breaks the body off.
 */
export type Flow = string | Uint8Array | typeof DROP | typeof ABORT | void;

/** A plugin's hooks. Only those that the class has are called. What one throws fails it. */
export interface Plugin {
  /** Before routing, only in a listener's chain: answers, reroutes, or goes on. */
  onPreRequest?(request: Request): Action;
  /** Routed, before the upstream is called. */
  onRequest?(request: Request): Action;
  /** The response's head has arrived, or an answer was made instead of it. */
  onResponse?(response: Response): Action;
  /** A piece of the request's body, which streams. An `Answer` ends it: it is then sent no further. */
  onRequestBody?(chunk: Chunk): Flow | Answer;
  /** A piece of the response's body. */
  onResponseBody?(chunk: Chunk): Flow;
  /**
   * The end of an answer that is `STREAMED`. What it returns goes out before that, and it is called again
   * once the client has taken it; after `DROP`, in 100 ms; until it returns nothing.
   */
  onAnswerBody?(chunk: Chunk): Flow;
}

/** The class of a plugin, the default export of `src/plugin.js`. */
export interface PluginClass {
  /**
   * Once an instance, before any hook, with the plugin's `config` (`{}` where there is none). What it
   * throws refuses the configuration. `exchange`, `span` and `http.send` fail here.
   */
  new (config: any): Plugin;
  /** The JSON Schema of `config`. */
  configSchema?: object;
  /** Holds the request's body back for `onRequest`: up to so many bytes. */
  requestBody?: { buffer: number };
  /** Holds the response's body back for `onResponse`: up to so many bytes. */
  responseBody?: { buffer: number };
  /** Keeps the request's fields, for `response.requestHeader`. */
  requestHead?: boolean;
  /** Shows bodies without `gzip`, `deflate` and `zstd`. */
  decoded?: boolean;
}

/** Of a piece: nothing goes on instead of it. */
export const DROP: unique symbol;
/** Of a piece: the body is broken off, and its receiver can tell. */
export const ABORT: unique symbol;
/** Of an `Answer`: its body comes of `onAnswerBody`, piece by piece. */
export const STREAMED: unique symbol;

/** What is sent instead of what would have been. Only an instance of this class is taken. */
export class Answer {
  // What merely looks like one is none.
  #answer;
  /**
   * Checked when the hook returns it: `invalid-status`; of headers `invalid-name`, `invalid-value`,
   * `forbidden`, and past 64 KiB `too-large`; past 4 MiB of body `too-large`; `too-late`.
   *
   * @param status 200 to 599
   */
  constructor(status: number, headers?: Fields, body?: Data | typeof STREAMED);
  status: number;
  headers: Fields;
  body: Data | typeof STREAMED;
}

/** The host's words for what it refuses. */
export type Reason =
  // Of fields.
  | 'invalid-name' | 'invalid-value' | 'forbidden' | 'immutable'
  // Of bodies; `too-large` of fields, values and calls too.
  | 'not-buffered' | 'too-large'
  // Of answers and rerouting.
  | 'invalid-status' | 'too-late' | 'invalid'
  // Of `http.send`, which may be `invalid` too.
  | 'not-allowed' | 'too-many' | 'connect' | 'timeout' | 'broken' | 'overload'
  // Of `kv`.
  | 'not-a-number' | 'unavailable'
  // Of `metrics`, which may be `invalid-name` and `too-many` too.
  | 'conflict';

/** The host refused something. */
export class Refused extends Error {
  private constructor();
  /** Why, in the host's word. */
  reason: Reason;
}

/** What heads of requests and responses have alike. Lent for the one hook. */
declare class Head {
  protected constructor();
  /** The first value of a field, by its name in any case; `undefined` where there is none. */
  header(name: string): string | undefined;
  /** All values of a field, in order. */
  headerValues(name: string): string[];
  /** All fields, with names in lower case. */
  headers(): [name: string, value: string][];
  /**
   * Replaces all values of a field by one.
   *
   * @throws {Refused} `invalid-name`, `invalid-value`, `forbidden`, `too-large`, `immutable`
   */
  setHeader(name: string, value: Text): void;
  /**
   * Adds a value beside those there are.
   *
   * @throws {Refused} `invalid-name`, `invalid-value`, `forbidden`, `too-large`, `immutable`
   */
  addHeader(name: string, value: Text): void;
  /**
   * Removes all values of a field; that there were none is no error.
   *
   * @throws {Refused} `invalid-name`, `forbidden`, `immutable`
   */
  removeHeader(name: string): void;
  /**
   * The whole body, as bytes, in the encoding that `content-encoding` says. Needs `static requestBody` or
   * `static responseBody = { buffer: BYTES }`.
   *
   * @throws {Refused} `not-buffered`, `too-large`
   */
  body(): Uint8Array;
  /**
   * The whole body, as text.
   *
   * @throws {Refused} `not-buffered`, `too-large`
   */
  text(): string;
  /**
   * Replaces the body, by text or bytes in no encoding.
   *
   * @throws {Refused} `not-buffered`, `too-large`, `immutable`
   */
  setBody(body: Data): void;
  /** Where pieces are wanted: lets this body by. */
  skipBody(): void;
}

/** The request, as the hooks before this one left it. */
export class Request extends Head {
  private constructor();
  /** As received: methods are case-sensitive. */
  get method(): string;
  /** How the client reached Weir. */
  get scheme(): 'http' | 'https';
  /** Host and, where given, port. */
  get authority(): string;
  /** The path without the query, as received. */
  get path(): string;
  /** What follows `?`, or `undefined`. */
  get query(): string | undefined;
  /** The client's address, without port. */
  get clientAddress(): string;
  /**
   * The certificate that the peer showed, which one of the listener's authorities has signed; `undefined`
   * without one.
   */
  get clientCertificate(): Certificate | undefined;
  /**
   * Changes what the router is going to see; only in `onPreRequest`. What is left out stays.
   *
   * @throws {Refused} `too-late`, `invalid`
   */
  reroute(to: {
    /** Host and, where wanted, port. */
    authority?: string;
    /** The path, with the query. */
    path?: string;
    /** The upstream, by its name in the configuration. */
    upstream?: string;
  }): void;
}

/** What a certificate says. */
export interface Certificate {
  /** By RFC 4514, such as `CN=alice,O=Shop`; empty where it has none. Compare the whole. */
  subject: string;
  /** Who issued it, in the same way. */
  issuer: string;
  /** The SHA-256 of its DER, in upper-case hexadecimal. */
  sha256: string;
  /** Its other names, by kind. */
  alternativeNames: { dns: string[]; uri: string[]; email: string[]; ip: string[] };
}

/** The response, as the hooks before this one left it. */
export class Response extends Head {
  private constructor();
  /** 200 to 599 where it is set: else it throws `Refused`, with `invalid-status`. */
  get status(): number;
  set status(status: number);
  /** A field of the request as it went to the upstream; traps without `static requestHead = true`. */
  requestHeader(name: string): string | undefined;
  get requestMethod(): string;
  /** The path of the request, without the query. */
  get requestPath(): string;
}

/** A piece of a body, of 64 KiB at most. Lent for the one hook. */
export class Chunk {
  private constructor();
  /** Its bytes, in the encoding that `content-encoding` of the head says. */
  data(): Uint8Array;
  /** In bytes. */
  get length(): number;
  /** Whether nothing comes behind it but trailers. It may be empty. */
  get isLast(): boolean;
  /**
   * Adds to what goes on instead of it, before what the hook returns. Where that is nothing, the piece
   * itself goes on, and what was written does not: return `DROP` or `''`.
   *
   * @throws {Refused} `too-large`
   */
  write(bytes: Data): void;
  /** The trailers behind the last piece; of another there are none. */
  trailers(): [name: string, value: string][];
  /**
   * Replaces all values of a trailer by one. Of a piece that is not the last, `immutable`.
   *
   * @throws {Refused} `invalid-name`, `invalid-value`, `forbidden`, `too-large`, `immutable`
   */
  setTrailer(name: string, value: Text): void;
  /**
   * Removes all values of a trailer. Of a piece that is not the last, `immutable`.
   *
   * @throws {Refused} `invalid-name`, `forbidden`, `immutable`
   */
  removeTrailer(name: string): void;
}

/** The value of an attribute; a text has 64 KiB at most. */
export type Attribute = string | number | bigint | boolean | readonly string[];

/**
 * A span. Of one hook it takes 128 attributes, events and errors; what is more, and names that begin with
 * `weir.`, are dropped.
 */
export interface Span {
  setAttribute(name: string, value: Attribute): void;
  /** Adds an event with the present time. */
  addEvent(name: string, attributes?: { readonly [name: string]: Attribute }): void;
  /** Marks the span as failed, without failing the hook. */
  setError(message: string): void;
}

/** What a call to the upstream is, in the trace. */
export type CallKind = 'http' | 'llm';

/** The span of the call to the upstream; what is set before the call is kept for it. */
export interface UpstreamSpan extends Span {
  /** Says what the call is, and the name of its span. What is said last holds. */
  describe(kind: CallKind, name: string): void;
}

/** The span of the hook that is running, and, as `span.upstream`, that of the call to the upstream. */
export const span: Span & { upstream: UpstreamSpan };

/** Lines in Weir's log and in the trace: 64, and 64 KiB, of a request. What is more is dropped. */
export const log: {
  trace(message: unknown): void;
  debug(message: unknown): void;
  info(message: unknown): void;
  warn(message: unknown): void;
  error(message: unknown): void;
};

/** The exchange a hook works on. */
export const exchange: {
  /** The request's id: its `x-request-id`, else made by Weir. */
  requestId(): string;
  /** Makes this the request's id, of which 200 bytes are kept. */
  setRequestId(id: string): void;
  /** What an earlier hook of this plugin left, in the same exchange. */
  get(key: string): string | undefined;
  /** Leaves a text for this plugin's later hooks of the exchange. Traps past 64 values, and 16 KiB of one. */
  set(key: string, value: Text): void;
};

/**
 * Values that all instances of the plugin share, on all workers. Key and value have 64 KiB at most. Times to
 * live are whole milliseconds; 0, where none is given, and more than a day mean a day.
 */
export const kv: {
  /**
   * Bytes, or `undefined`.
   *
   * @throws {Refused} `unavailable`
   */
  get(key: string): Uint8Array | undefined;
  /**
   * The same as text.
   *
   * @throws {Refused} `unavailable`
   */
  getText(key: string): string | undefined;
  /** @throws {Refused} `too-large`, `unavailable` */
  set(key: string, value: Data, ttlMs?: number): void;
  /**
   * Whether there was one.
   *
   * @throws {Refused} `unavailable`
   */
  delete(key: string): boolean;
  /**
   * Adds a whole number, atomically, and gives the sum. A key without a value counts as 0, and is set for
   * `ttlMs`; the time to live of one that has a value stays.
   *
   * @throws {Refused} `not-a-number`, `too-large`, `unavailable`
   */
  add(key: string, delta: number | bigint, ttlMs?: number): number;
  /**
   * Sets a value where the present one is the expected one (`undefined`: where there is none), atomically.
   * Whether it was set.
   *
   * @throws {Refused} `too-large`, `unavailable`
   */
  compareAndSet(key: string, expected: Data | undefined, value: Data, ttlMs?: number): boolean;
};

/** What an upstream replied, whole. It is there until the hook ends. */
export interface Reply {
  /** 400 and above is a reply too. */
  readonly status: number;
  /** The first value of a field, by its name in any case. */
  header(name: string): string | undefined;
  /** All fields, with names in lower case. */
  headers(): [name: string, value: string][];
  /** The whole body, in the encoding that `content-encoding` says. */
  body(): Uint8Array;
  text(): string;
  /** The body as JSON; throws `SyntaxError` where it is none. */
  json(): any;
}

/** Calls of the plugin's own to upstreams that the operator lets it call. They look blocking. */
export const http: {
  /** Whether the operator lets the plugin call this upstream; in the constructor too. */
  mayCall(upstream: string): boolean;
  /**
   * Sends a request and waits for the whole reply. Traps in the constructor.
   *
   * @throws {Refused} `not-allowed`, `too-many`, `invalid`, `connect`, `timeout`, `broken`, `too-large`,
   * `overload`
   */
  send(
    upstream: string,
    request?: {
      /** `GET` where it is left out. */
      method?: string;
      /** With the query; `/` where it is left out. */
      path?: string;
      headers?: Fields;
      body?: Data;
      /** Bounds the whole call, in whole milliseconds; 0: only the upstream's timeouts and the hook's time. */
      timeoutMs?: number;
    },
  ): Reply;
};

/** A value for each label, in the order of the definition. */
export type LabelValues<Labels extends readonly string[]> = { [Label in keyof Labels]: string };

export interface Counter<Labels extends readonly string[] = []> {
  /** Adds 1, or as much as is given; what would make it fall is dropped. */
  add(value?: number, ...labels: LabelValues<Labels>): void;
}

export interface Gauge<Labels extends readonly string[] = []> {
  add(value: number, ...labels: LabelValues<Labels>): void;
  set(value: number, ...labels: LabelValues<Labels>): void;
}

export interface Histogram<Labels extends readonly string[] = []> {
  observe(value: number, ...labels: LabelValues<Labels>): void;
}

/**
 * Numbers of the plugin's own, on Weir's `/metrics` as `weir_plugin_<plugin>_<name>`: 64 at most, of 8 labels
 * and 32 bounds each. Define them in the constructor; to define the same again gives the same.
 */
export const metrics: {
  /**
   * A counter, without `_total` in its name.
   *
   * @throws {Refused} `invalid-name`, `conflict`, `too-many`
   */
  counter<const Labels extends readonly string[] = []>(
    name: string,
    help: string,
    labels?: Labels,
  ): Counter<Labels>;
  /** @throws {Refused} `invalid-name`, `conflict`, `too-many` */
  gauge<const Labels extends readonly string[] = []>(
    name: string,
    help: string,
    labels?: Labels,
  ): Gauge<Labels>;
  /**
   * `bounds` are the upper bounds of its buckets, rising.
   *
   * @throws {Refused} `invalid-name`, `conflict`, `too-many`
   */
  histogram<const Labels extends readonly string[] = []>(
    name: string,
    help: string,
    bounds: readonly number[],
    labels?: Labels,
  ): Histogram<Labels>;
};

export type Hash = 'sha256' | 'sha384' | 'sha512';

/** By their names in JSON Web Algorithms; `ed25519` is `EdDSA` there. */
export type Algorithm =
  | 'rs256' | 'rs384' | 'rs512'
  | 'ps256' | 'ps384' | 'ps512'
  | 'es256' | 'es384' | 'es512'
  | 'ed25519';

export type PublicKey =
  /** A `SubjectPublicKeyInfo` in DER, for any algorithm. */
  | { tag: 'spki'; val: Uint8Array }
  /** For ES the uncompressed point (`4`, x, y), for Ed25519 its 32 bytes. */
  | { tag: 'point'; val: Uint8Array }
  /** For RS and PS, of 2048 to 8192 bits: both numbers big-endian, without leading zeros. */
  | { tag: 'rsa'; val: { n: Uint8Array; e: Uint8Array } };

/** Cryptography by the host, of 2 MiB at once: it traps past that. */
export const crypto: {
  /** 32, 48 or 64 bytes. */
  digest(hash: Hash, data: Data): Uint8Array;
  /** A message authentication code (RFC 2104). */
  hmac(hash: Hash, key: Data, data: Data): Uint8Array;
  /**
   * Whether a signature is right: it is not where the key is none of the algorithm's. Of ECDSA it is both
   * numbers, one behind the other.
   */
  verify(algorithm: Algorithm, key: PublicKey, message: Data, signature: Uint8Array): boolean;
  /** Whether two secrets are the same, in a time that tells only their lengths. */
  equal(one: Data, other: Data): boolean;
};

/** Time. `Date` and `performance` tell the same. */
export const clock: {
  /** Milliseconds since the Unix epoch. */
  now(): number;
  /** Nanoseconds from an arbitrary origin, never going back. */
  monotonic(): bigint;
};

/** Random numbers, fit for keys. */
export const random: {
  /** 64 bits. */
  next(): bigint;
  /** So many bytes; traps past 4096. */
  bytes(count: number): Uint8Array;
  /** From 0 to below 1. */
  fraction(): number;
};

/** Text to bytes, as UTF-8; bytes stay. Throws `TypeError` of anything else. */
export function encode(data: Data): Uint8Array;
/** Bytes to text, by UTF-8. */
export function decode(bytes: Uint8Array | ArrayBuffer): string;
/** Bytes, or a text, in hexadecimal, in lower case. */
export function hex(data: Data): string;
/** Bytes, or a text, in base64 (RFC 4648, section 4). */
export function base64(data: Data): string;

// Only what is marked is exported.
export {};
