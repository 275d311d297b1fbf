// Live events of one port.
import { useRef, useState } from 'preact/hooks'
import { base, query as q, type Name, type Stored } from '../api'
import { bytes, count, plural } from '../format'
import { Empty, Fault, Field, Json, LineMark, Plain, Save, Select, Time } from '../parts'
import { pageOf, setQuery, useLive } from '../state'
import { usePorts } from './ports'

// shown is how many events stay on the page.
const shown = 200

export function Tap({ of, query }: { of: Name; query: URLSearchParams }) {
  const value = (name: string) => query.get(name) ?? ''
  const { ports } = usePorts(of)
  const port = value('port') || 'ingress'
  const asked = { port, filter: value('filter'), sample: value('sample'), since: value('since') }
  const url = `${base(of)}/tap${q(asked)}`
  const [paused, pause] = useState(false)
  const [state, set] = useState<{ url: string; events: Stored[]; total: number }>({ url, events: [], total: 0 })
  // What comes in is drawn together, a few times a second: a fast port must not keep the page from answering.
  const waiting = useRef<{ url: string; events: Stored[]; total: number; timer: number }>({ url, events: [], total: 0, timer: 0 })
  const { line, problem } = useLive(paused ? null : url, (kind, data) => {
    if (kind !== 'events') return
    const fresh = data as Stored[]
    const w = waiting.current
    if (w.url !== url) { w.url = url; w.events = []; w.total = 0 }
    w.events = [...fresh.reverse(), ...w.events].slice(0, shown)
    w.total += fresh.length
    if (w.timer) return
    w.timer = setTimeout(() => {
      const drawn = { url: w.url, events: w.events, total: w.total }
      w.timer = 0; w.events = []; w.total = 0
      set((s) => {
        const before = s.url === drawn.url ? s : { events: [], total: 0 }
        return { url: drawn.url, events: [...drawn.events, ...before.events].slice(0, shown), total: before.total + drawn.total }
      })
    }, 300)
  })
  const events = state.url === url ? state.events : []
  return <>
    <div class="head"><h1>Tap</h1><span class="faint num">{state.url === url ? plural(state.total, 'event') : '0 events'} since you look</span><LineMark line={line} /></div>
    <form class="filters" aria-label="What to tap" onSubmit={(e) => e.preventDefault()}>
      <Select label="Port" value={port} set={(v) => setQuery({ port: v })} options={(ports.includes(port) ? ports : [...ports, port]).map((p) => [p, p])} />
      <Field label="Filter (CEL)" value={value('filter')} set={(v) => setQuery({ filter: v })} wide hint={'event.type.startsWith("k8s.pod")'} />
      <Select label="Sample" value={value('sample')} set={(v) => setQuery({ sample: v })} options={[['', 'every event'], ['10', '1 of 10'], ['100', '1 of 100'], ['1000', '1 of 1000']]} />
      <Select label="Begin" value={value('since')} set={(v) => setQuery({ since: v })} options={[['', 'now'], ['1m', '1 min ago'], ['5m', '5 min ago'], ['1h', '1 h ago']]} />
      <button type="button" class="primary" aria-pressed={paused} onClick={() => pause(!paused)}>{paused ? 'Go on' : 'Pause'}</button>
      <Save url={`${base(of)}/tap/ndjson${q({ ...asked, since: asked.since || '5m' })}`} name={`${of.name}-${port.replace('/', '-')}.ndjson`}>Download NDJSON</Save>
    </form>
    {problem && line === 'lost' && <Fault problem={problem} />}
    {events.length === 0 ? line !== 'lost' && <Empty title={paused ? 'Paused' : 'No event yet'}>{!paused && <>Events show up here as they are stored on <b>{port}</b>{value('filter') ? ', if they match the filter' : ''}. To look back, choose when to begin.</>}</Empty>
      : <><ul class="tap" aria-label="Events, the newest first">{events.map((e) => <TapRow key={`${e.stream}.${e.sequence}.${e.index}`} of={of} e={e} />)}</ul>
        {state.total > events.length && <p class="faint">The newest {count(events.length)} of {count(state.total)}. The download has all of the chosen time, up to 100,000.</p>}</>}
  </>
}

function TapRow({ of, e }: { of: Name; e: Stored }) {
  const [open, set] = useState(false)
  return <li class={e.error ? 'broken' : ''}>
    <button type="button" class="tapline" aria-expanded={open} onClick={() => set(!open)}>
      <Time at={e.stored} ms /> <span class="type"><Plain text={e.type ?? 'unreadable'} max={80} /></span> <span class="entity faint"><Plain text={e.entity} max={80} /></span> <span class="text"><Plain text={e.error ?? e.text} max={240} /></span>
    </button>
    {e.skipped ? <p class="faint small skipped">{plural(e.skipped, 'message')} before this one skipped: the port is faster than the tap. Sample, or filter.</p> : null}
    {open && <div class="opened">
      <p class="links"><span class="faint num">{e.stream} sequence {e.sequence}, event {e.index + 1} · partition {e.partition}</span>{e.id && <a href={`${pageOf(of, 'event')}?id=${encodeURIComponent(e.id)}`}>Follow <Plain text={e.id} max={60} /></a>}</p>
      {e.size ? <p>This event has {bytes(e.size)}: too much for this list. {e.id ? 'Follow it to download it.' : 'The download has it.'}</p>
        : e.event ? <Json value={e.event} label="The event" /> : <pre class="code" tabIndex={0} aria-label="What is stored"><Plain text={decodeBody(e.raw)} max={16_000} /></pre>}
    </div>}
  </li>
}

// decodeBody is base64 as text; what is no UTF-8 is shown as such.
export function decodeBody(base64: string | undefined): string {
  if (!base64) return ''
  const raw = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))
  return new TextDecoder().decode(raw)
}
