// The pieces that pages are made of.
import type { ComponentChildren } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { download, signIn, type Health, type Problem } from './api'
import { clock } from './format'
import type { Line } from './state'

// Characters that change the direction of text, or cannot be seen, are shown by their number: an event may come from anybody.
const hidden = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g

// Plain shows text as text.
export function Plain({ text, max = 4000 }: { text: string | undefined; max?: number }) {
  const all = text ?? ''
  const cut = all.length > max
  const shown = cut ? all.slice(0, max) : all
  const parts: ComponentChildren[] = []
  let from = 0
  for (const m of shown.matchAll(hidden)) {
    if (m.index > from) parts.push(shown.slice(from, m.index))
    const code = `U+${m[0].charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}`
    parts.push(<span class="mark" title={`the invisible character ${code}`}>{code}</span>)
    from = m.index + 1
  }
  parts.push(shown.slice(from))
  return <bdi class="plain">{parts}{cut && <span class="faint"> … {all.length - max} more characters</span>}</bdi>
}

// Json shows a value with indentation, and nothing interpreted.
export function Json({ value, label }: { value: unknown; label: string }) {
  return <pre class="code" tabIndex={0} aria-label={label}><Plain text={JSON.stringify(value, null, 2)} max={40_000} /></pre>
}

export function Time({ at, ms }: { at?: string | undefined; ms?: boolean }) {
  return <time dateTime={at ?? ''} title={at} class="num">{clock(at, ms)}</time>
}

const glyphs: Record<Health, string> = { ok: '●', slow: '▲', stuck: '■', failing: '✕', unknown: '○' }
export const healths: [Health, string][] = [
  ['ok', 'keeps up'], ['slow', 'falls behind'], ['stuck', 'moves nothing'], ['failing', 'dead-letters, or cannot do its work'], ['unknown', 'not known'],
]

export function HealthMark({ health, text }: { health: Health; text?: boolean }) {
  const h = health in glyphs ? health : 'unknown'
  return <span class={`health ${h}`}><span aria-hidden="true">{glyphs[h]}</span>{text ? ` ${h}` : <span class="sr">{h}</span>}</span>
}

export function Legend() {
  return <ul class="legend" aria-label="Legend of colours">
    {healths.map(([h, means]) => <li key={h}><HealthMark health={h} text /> <span class="faint">{means}</span></li>)}
  </ul>
}

const severities: Record<string, string> = { info: '·', warn: '▲', error: '✕', fatal: '◆' }
export function Severity({ value }: { value: string }) {
  const s = value.toLowerCase().replace('warning', 'warn')
  return <span class={`severity ${s}`}><span aria-hidden="true">{severities[s] ?? '·'}</span> {s || 'unknown'}</span>
}

export function LineMark({ line }: { line: Line }) {
  const says: Record<Line, string> = { connecting: 'connecting', live: 'live', paused: 'paused', ended: 'ended', lost: 'not connected' }
  return <span class={`line ${line}`} role="status"><span aria-hidden="true" class="dot" /> {says[line]}</span>
}

export function Fault({ problem, again }: { problem: Problem; again?: (() => void) | undefined }) {
  if (problem.status === 401) return <SignIn problem={problem} />
  return <div class="fault" role="alert">
    <strong>{problem.reason === 'Unreachable' ? 'No connection' : words(problem.reason)}</strong>
    <p><Plain text={problem.message} max={1000} /></p>
    {problem.do && <p class="faint">{problem.do}</p>}
    {again && <button type="button" onClick={again}>Try again</button>}
  </div>
}

const words = (s: string) => s.replace(/([a-z])([A-Z])/g, '$1 $2').replace(/^(.)(.*)$/, (_, a: string, b: string) => a + b.toLowerCase())

function SignIn({ problem }: { problem: Problem }) {
  const [token, set] = useState('')
  const [state, setState] = useState<{ busy?: boolean; refused?: Problem }>({})
  const submit = (e: Event) => {
    e.preventDefault()
    setState({ busy: true })
    signIn(token).then(() => location.reload(), (e: { problem?: Problem; message: string }) =>
      setState({ refused: e.problem ?? { status: 0, reason: 'Broken', message: e.message } }))
  }
  return <form class="fault signin" onSubmit={submit}>
    <h1>Sign in</h1>
    <p>{problem.message.includes('session has ended') ? <Plain text={problem.message} /> : 'The console shows what you may see in this cluster.'}</p>
    <p class="faint">A token of a Kubernetes user or ServiceAccount. One that is good for the console alone, from <code>kubectl create token NAME --audience millrace.dev/console</code>, is enough.</p>
    <label>Token <input type="password" autocomplete="off" value={token} onInput={(e) => set(e.currentTarget.value)} required /></label>
    {state.refused && <p role="alert" class="bad"><Plain text={state.refused.message} max={500} /></p>}
    <button type="submit" class="primary" disabled={state.busy === true}>Sign in</button>
  </form>
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return <div class="empty"><strong>{title}</strong>{children && <div class="faint">{children}</div>}</div>
}

export const Loading = ({ what }: { what: string }) => <div class="empty loading" role="status">Reading {what} …</div>

// Save downloads a file and says what went wrong.
export function Save({ url, name, children }: { url: string; name: string; children: ComponentChildren }) {
  const [state, set] = useState('')
  return <span class="save"><button type="button" disabled={state === '…'} onClick={() => {
    set('…')
    download(url, name).then(() => set(''), (e: Error) => set(e.message))
  }}>{children}</button>{state && <span role="status" class="faint"> {state}</span>}</span>
}

export function Copy({ text, label }: { text: string; label: string }) {
  const [done, set] = useState(false)
  return <button type="button" class="quiet" aria-label={label} title={label} onClick={() => {
    navigator.clipboard?.writeText(text).then(() => { set(true); setTimeout(() => set(false), 1500) }, () => undefined)
  }}>{done ? 'copied' : 'copy'}</button>
}

// Field is an input of a form that takes effect when it is left, or on Enter: not at each key.
export function Field({ label, value, set, type = 'text', hint, wide, list }: {
  label: string; value: string; set: (v: string) => void; type?: 'text' | 'search'; hint?: string; wide?: boolean; list?: string[]
}) {
  const [draft, change] = useState(value)
  const input = useRef<HTMLInputElement>(null)
  useEffect(() => change(value), [value])
  const id = `f-${label.toLowerCase().replace(/\W+/g, '-')}`
  return <div class={wide ? 'field wide' : 'field'}>
    <label for={id}>{label}</label>
    <input id={id} ref={input} type={type} value={draft} placeholder={hint} autocomplete="off" spellcheck={false} {...(list ? { list: `${id}-list` } : {})}
      onInput={(e) => change(e.currentTarget.value)} onChange={() => draft !== value && set(draft.trim())}
      onKeyDown={(e) => { if (e.key === 'Enter') { e.preventDefault(); set(draft.trim()) } }} />
    {list && <datalist id={`${id}-list`}>{list.map((v) => <option key={v} value={v} />)}</datalist>}
  </div>
}

export function Select({ label, value, set, options }: { label: string; value: string; set: (v: string) => void; options: [string, string][] }) {
  const id = `s-${label.toLowerCase().replace(/\W+/g, '-')}`
  return <div class="field">
    <label for={id}>{label}</label>
    <select id={id} value={value} onChange={(e) => set(e.currentTarget.value)}>
      {options.map(([v, text]) => <option key={v} value={v} selected={v === value}>{text}</option>)}
    </select>
  </div>
}

export function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return <div class="fact"><dt>{name}</dt><dd>{children}</dd></div>
}
