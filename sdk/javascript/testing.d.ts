// The types of `testing.js`, the fake host for tests in Node.

import { Answer, type Data, type PluginClass, type Reason, type Text } from './weir.js';

export { Answer };

/** Fields: an object whose values are texts or lists of texts, or pairs. */
export type Given =
  | { readonly [name: string]: Text | readonly Text[] }
  | readonly (readonly [name: string, value: string])[];

/** A body; a list comes in these pieces. */
export type Body = Data | readonly Data[];

/** What an upstream replies to a call of the plugin's own. */
export interface Replied {
  /** 200 where it is left out. */
  status?: number;
  headers?: Given;
  body?: Body;
}

/** A call that the plugin may make, and what comes of it. What is left out of the request is any. */
export type Call = {
  upstream: string;
  method?: string;
  /** With the query. */
  path?: string;
} & (
  | { reply: Replied | ((request: { method: string; path: string; body: Uint8Array }) => Replied) }
  /** In the words of the WIT, or of `cases.yaml`. */
  | { error: Reason | 'not_allowed' | 'too_many' | 'too_large' }
);

/** An exchange: all of it may be left out. */
export interface Exchange {
  config?: unknown;
  request?: {
    /** `GET` where it is left out. */
    method?: string;
    /** `/` where it is left out; `http://example.com` where only a path is given. */
    url?: string;
    headers?: Given;
    body?: Body;
    clientCertificate?: {
      subject?: string;
      issuer?: string;
      sha256?: string;
      alternativeNames?: { dns?: string[]; uri?: string[]; email?: string[]; ip?: string[] };
    };
  };
  /** The upstream's: 200 without a body where it is left out. */
  response?: { status?: number; headers?: Given; body?: Body };
  calls?: readonly Call[];
  /** The values of earlier exchanges, as bytes: several runs may share them. */
  kv?: Map<string, Uint8Array>;
  /** When it begins, in milliseconds since the Unix epoch; 2026-01-01 where it is left out. */
  now?: number;
}

/** What became of an exchange. */
export interface Seen {
  action: 'continue' | 'respond' | 'reroute' | 'fail';
  /** As it went on; not where a hook failed. */
  request?: { url: string; headers: [name: string, value: string][]; body: string };
  /** The upstream that `reroute` named. */
  upstream?: string;
  /** As it reached the client; not where the configuration was refused. */
  response?: { status: number; headers: [name: string, value: string][]; body: string };
  /** The attributes of each hook's span, and of the call to the upstream. */
  spans: { [Place in 'pre_request' | 'request' | 'response' | 'upstream']?: { [name: string]: any } };
  /** Lines of the log. */
  logs: string[];
  /** The plugin's own calls: `GET upstream /path`. */
  calls: string[];
  /** The request's id, where a hook set it. */
  requestId?: string;
  /** What a hook threw. */
  failure?: string;
  /** Why the constructor refused the configuration. */
  refused?: string;
}

/** Runs an exchange through a plugin, without Weir. */
export function run(Plugin: PluginClass, exchange?: Exchange): Seen;

/** How much of a body a class asks for: `val` bytes held back, or its pieces. */
export type BodyMode = { tag: 'none' } | { tag: 'buffer'; val: bigint } | { tag: 'stream' };

/** What a class asks for. Throws where that is wrong. */
export function interests(Plugin: PluginClass): {
  hooks: { preRequest: boolean; request: boolean; response: boolean };
  requestBody: BodyMode;
  responseBody: BodyMode;
  requestHead: boolean;
  decoded: boolean;
};
