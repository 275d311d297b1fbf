// What the server says (controllers/view and controllers/console), and how to ask it.

export interface Problem { status: number; reason: string; message: string; do?: string }
export interface About { version: string; readOnly: boolean; user?: string; session?: boolean; now: string }
export interface Name { namespace: string; name: string }
export interface Pipeline extends Name { ready: boolean; reason?: string; message?: string; stages: number }
export type Health = 'ok' | 'slow' | 'stuck' | 'failing' | 'unknown'
export interface Summary extends Pipeline {
  events?: number; lag?: number; p99?: number; open?: number; deadLetters?: number; health?: Health; why?: string; problem?: string
}
export interface Stage {
  name: string; kind: string; head?: string; lanes: number; suspended?: boolean; ports: string[]; stateful?: boolean
}
export interface Edge { from: string; port: string; to?: string; stream?: string; partitions?: number }
export interface Graph extends Name { stages: Stage[]; edges: Edge[]; warnings?: string[]; revision: string }
export interface StageFlow {
  stage: string; p50?: number; p99?: number; workers?: number; wanted?: number; deadLetters?: number; breakerOpen?: string
  breaker?: string; processed?: number
  health: Health; why?: string
}
export interface EdgeFlow { events?: number; lag?: number; oldestAge?: number; bytes?: number; messages?: number }
export interface Flow { at: string; graph: string; stages: StageFlow[]; edges: EdgeFlow[]; problems?: string[] }
export interface Series { at: number[]; values: Record<string, (number | null)[]> }
export interface Place { stream: string; subject: string; sequence: number; index: number; partition: number; stored: string }
export interface Stored extends Place {
  port: string; id?: string; source?: string; type?: string; text?: string; time?: string; entity?: string
  event?: unknown; raw?: string; error?: string; size?: number; skipped?: number
}
export interface Step {
  stage: string; decision: string; port?: string; why?: string; at?: Place; from?: Place; waited?: number
  added?: Record<string, unknown>; event?: unknown; size?: number
}
export interface Trace { id: string; steps: Step[] | null; incidents?: { id: string; title: string }[]; read: number; from?: string }
export interface Evidence { eventId: string; type: string; time: string; relation?: string; text?: string; entity?: string }
export interface Incident {
  id: string; title: string; summary: string; status: string; revision: number; severity: string; stage: string; rule?: string
  algorithm?: string; confidence: number; confidenceMethod?: string; cause?: string; affected?: string[]; first: string; last: string
  count: number; evidence: Evidence[] | null; at: Place; event?: unknown; links?: number
}
export interface LetterGroup { stage: string; reason: string; count: number; replayed: number; first: string; last: string }
export interface Letter {
  sequence: number; stored: string; stage: string; reason: string; error: string; attempts: number; from: Place; eventId?: string
  replayed?: string; truncated?: boolean; size: number; header?: Record<string, string[]>; body?: string; cut?: boolean
}
export interface Letters { letters: Letter[]; groups: LetterGroup[]; more: boolean; partial?: boolean }
export interface Replay {
  stage: string; reason: string; since?: string; until?: string; filter: string; sequences?: number[]; to?: string; rate: number
  again: boolean; dryRun: boolean
}
export interface Purge {
  stage: string; reason: string; since?: string; filter: string; sequences?: number[]; replayed: boolean; before?: number; after?: number; limit?: number; dryRun: boolean
}
export interface Purged { removed: number; kept: number; last: number; more?: boolean }
export interface Job {
  id: string; options: Replay; state: string; stalled?: boolean; error?: string; started: string; updated: string; last: number; end: number
  published: number; before: number; truncated: number
}

export const problemOf = (e: unknown): Problem => e instanceof Failure ? e.problem : { status: 0, reason: 'Broken', message: String(e) }

export class Failure extends Error {
  constructor(readonly problem: Problem) { super(problem.message) }
}

// A session is a cookie that no script can read, this one neither. The token is sent once, in the body of a request.
const session = '/api/v1/session'
export const signIn = (token: string) => change<{ user: string }>('POST', session, { token: token.trim() })
export const signOut = () => change<unknown>('DELETE', session)

async function failure(response: Response): Promise<Failure> {
  try {
    const body = await response.json() as { error?: Problem }
    if (body.error) return new Failure(body.error)
  } catch { /* not the console's own answer */ }
  return new Failure({ status: response.status, reason: 'Unavailable', message: `the server answered ${response.status}`, do: 'Is something else in front of the console?' })
}

const unreachable = () => new Failure({
  status: 0, reason: 'Unreachable', message: 'the console does not answer',
  do: 'Is the run still going, or the tunnel open? This page tries again.',
})

async function send(url: string, init: RequestInit): Promise<Response> {
  let response: Response
  try {
    response = await fetch(url, init)
  } catch (e) {
    if (init.signal?.aborted) throw e
    throw unreachable()
  }
  if (!response.ok) throw await failure(response)
  return response
}

export async function get<T>(url: string, signal?: AbortSignal): Promise<T> {
  return await (await send(url, { signal: signal ?? null })).json() as T
}

export async function change<T>(method: 'POST' | 'DELETE', url: string, body?: unknown): Promise<T> {
  const h: Record<string, string> = { 'X-Millrace-Console': '1', 'Content-Type': 'application/json' }
  return await (await send(url, { method, headers: h, body: body === undefined ? null : JSON.stringify(body) })).json() as T
}

// download saves a file, and throws what a plain link would show as a page.
export async function download(url: string, name: string): Promise<void> {
  const blob = await (await send(url, {})).blob()
  const link = document.createElement('a')
  link.href = URL.createObjectURL(blob)
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
}

// follow reads server-sent events until the signal ends it, the server says "end", or something fails. EventSource would
// hide why it fails.
export async function follow(url: string, signal: AbortSignal, opened: () => void, on: (kind: string, data: unknown) => void): Promise<'end'> {
  const response = await send(url, { headers: { Accept: 'text/event-stream' }, signal, cache: 'no-store' })
  opened()
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  for (;;) {
    const { done, value } = await reader.read().catch((e) => { if (signal.aborted) throw e; throw unreachable() })
    if (done) throw unreachable()
    const blocks = (rest + value).split('\n\n')
    rest = blocks.pop()!
    for (const block of blocks) {
      let kind = '', data = ''
      for (const line of block.split('\n')) {
        if (line.startsWith('event: ')) kind = line.slice(7)
        else if (line.startsWith('data: ')) data = line.slice(6)
      }
      if (!kind) continue
      if (kind === 'end') return 'end'
      const parsed: unknown = JSON.parse(data)
      if (kind === 'problem') throw new Failure(parsed as Problem)
      on(kind, parsed)
    }
  }
}

export const base = (of: Name) => `/api/v1/pipelines/${encodeURIComponent(of.namespace)}/${encodeURIComponent(of.name)}`

export const query = (values: Record<string, string | number | boolean | undefined>): string => {
  const q = new URLSearchParams()
  for (const [k, v] of Object.entries(values)) if (v !== undefined && v !== '' && v !== false) q.set(k, String(v))
  const s = q.toString()
  return s ? `?${s}` : ''
}
