// One event on its way, or a search for it.
import { base, query as q, type Name, type Step, type Stored, type Trace } from '../api'
import { duration, plural } from '../format'
import { Copy, Empty, Fact, Fault, Field, Json, Loading, Plain, Save, Select, Time } from '../parts'
import { pageOf, setQuery, useGet } from '../state'
import { usePorts } from './ports'

export function EventPage({ of, query }: { of: Name; query: URLSearchParams }) {
  const value = (name: string) => query.get(name) ?? ''
  const id = value('id')
  const searched = ['type', 'entity', 'text', 'from'].some((n) => value(n))
  return <>
    <div class="head"><h1>Event</h1><span class="faint">its way through every stage</span></div>
    <form class="filters" role="search" aria-label="Find an event" onSubmit={(e) => e.preventDefault()}>
      <Field label="Id" value={id} set={(v) => setQuery({ id: v })} wide hint="the id of an event" />
      <span class="or faint">or search by</span>
      <Field label="Type" value={value('type')} set={(v) => setQuery({ type: v, id: undefined })} hint="k8s.pod.oom_killed" />
      <Field label="Entity" value={value('entity')} set={(v) => setQuery({ entity: v, id: undefined })} hint="cart" />
      <Field label="Text" value={value('text')} set={(v) => setQuery({ text: v, id: undefined })} hint="words" />
      <Select label="Stored in" value={value('since')} set={(v) => setQuery({ since: v })} options={[['', 'the last hour'], ['5m', 'the last 5 min'], ['24h', 'the last day'], ['168h', 'the last week']]} />
    </form>
    {id ? <Way key={id} of={of} id={id} /> : searched ? <Found of={of} query={query} />
      : <Empty title="Which event?">Give its id, or search for it. Ids are on the pages of incidents, taps and dead letters too.</Empty>}
  </>
}

const text = (s: string) => JSON.stringify(s)

// Found lists events of the ingress, or of a port, that match.
function Found({ of, query }: { of: Name; query: URLSearchParams }) {
  const value = (name: string) => query.get(name) ?? ''
  const { ports } = usePorts(of)
  const port = value('port') || ports.find((p) => p !== 'ingress' && p.endsWith('/out')) || 'ingress'
  const terms: string[] = []
  const entity = value('entity')
  if (value('type')) terms.push(`event.type.contains(${text(value('type'))})`)
  if (entity) {
    const parts = entity.split('/')
    terms.push(parts.length >= 2
      ? [`event.entity.kind == ${text(parts[0]!)}`, `event.entity.name == ${text(parts.at(-1)!)}`, ...(parts.length > 2 ? [`event.entity.namespace == ${text(parts[1]!)}`] : [])].join(' && ')
      : `event.entity.name.contains(${text(entity)})`)
  }
  if (value('text')) terms.push(`string(event.body).contains(${text(value('text'))})`)
  const answer = useGet<{ events: Stored[]; partial: boolean }>(`${base(of)}/events${q({ port, filter: terms.join(' && '), since: value('since') || '1h', limit: 100 })}`)
  if (!answer.data) return answer.problem ? <Fault problem={answer.problem} again={answer.reload} /> : <Loading what="events" />
  const list = answer.data.events
  return <>
    <form class="filters" onSubmit={(e) => e.preventDefault()}><Select label="As stored on" value={port} set={(v) => setQuery({ port: v })} options={ports.map((p) => [p, p])} /></form>
    {list.length === 0 ? <Empty title="No event matches">Try a longer time, another port, or fewer words. A stream forgets what is older than its age.</Empty>
      : <><p class="faint">{plural(list.length, 'event')}{answer.data.partial ? ', the first ones: narrow the search for others' : ''}</p>
        <table class="cards"><thead><tr><th scope="col">Stored</th><th scope="col">Type</th><th scope="col">Entity</th><th scope="col">Text</th><th scope="col">Id</th></tr></thead>
          <tbody>{list.map((e) => <tr key={`${e.sequence}.${e.index}`}>
            <td data-label="Stored"><Time at={e.stored} ms /></td><td data-label="Type"><Plain text={e.type} max={100} /></td><td data-label="Entity"><Plain text={e.entity} max={120} /></td>
            <td data-label="Text" class="wide"><Plain text={e.error ?? e.text} max={200} /></td><td data-label="Id">{e.id ? <a href={`${pageOf(of, 'event')}?id=${encodeURIComponent(e.id)}`}><Plain text={e.id} max={60} /></a> : '–'}</td>
          </tr>)}</tbody></table></>}
  </>
}

const says: Record<string, [string, string]> = {
  stored: ['ok', 'stored'], emitted: ['ok', 'emitted'], filtered: ['unknown', 'filtered: done, and nothing stored'],
  deduplicated: ['unknown', 'deduplicated: its id had come before'], 'dead-lettered': ['failing', 'dead-lettered'], waiting: ['slow', 'waiting: not yet processed'],
  expired: ['unknown', 'expired: the stream no longer holds what tells'],
}

function Way({ of, id }: { of: Name; id: string }) {
  const answer = useGet<Trace>(`${base(of)}/trace${q({ id })}`)
  if (!answer.data) return answer.problem ? <Fault problem={answer.problem} again={answer.reload} /> : <Loading what="its way" />
  const t = answer.data
  const steps = t.steps ?? []
  const first = steps.find((s) => s.at)?.at?.stored
  const last = steps.findLast((s) => s.at)?.at?.stored
  const source = steps.find((s) => s.event)?.event as Record<string, unknown> | undefined
  return <>
    <section class="panel">
      <h2 class="idline"><span class="mono"><Plain text={id} max={300} /></span> <Copy text={id} label="Copy the id" /></h2>
      <dl class="facts across">
        {source && <><Fact name="Type"><Plain text={String(source.type ?? '–')} /></Fact><Fact name="Source"><Plain text={String(source.source ?? '–')} /></Fact><Fact name="Event time"><Time at={source.time as string | undefined} ms /></Fact></>}
        {first && last && <Fact name="Through after">{duration((new Date(last).getTime() - new Date(first).getTime()) / 1000)}</Fact>}
        <Fact name="Looked at">{plural(t.read, 'message')}{t.from && !t.from.startsWith('0001') ? <>, stored since <Time at={t.from} /></> : null}</Fact>
      </dl>
      {t.incidents && t.incidents.length > 0 && <p class="links"><span class="faint">Incidents that name it:</span> {t.incidents.map((i) => <a key={i.id} href={`${pageOf(of, 'incidents')}?id=${encodeURIComponent(i.id)}`}><Plain text={i.title} max={160} /></a>)}</p>}
    </section>
    {steps.length === 0 ? <Empty title="No stage knows this id">It may not have come in yet, or its streams have dropped it. Ids are compared exactly.</Empty>
      : <ol class="way">{steps.map((s, n) => <StepRow key={n} of={of} id={id} n={n} s={s} />)}</ol>}
  </>
}

function StepRow({ of, id, n, s }: { of: Name; id: string; n: number; s: Step }) {
  const [tone, means] = says[s.decision] ?? ['unknown', s.decision]
  const added = Object.entries(s.added ?? {})
  return <li class={`step ${tone}`}>
    <div class="steptop"><b>{s.stage}</b><span class={`decision ${tone}`}>{means}</span>{s.port && <span class="tag">{s.port}</span>}<span class="grow" />
      {s.waited !== undefined && <span class="num" title="from what it read being stored to the result being stored">took {duration(s.waited)}</span>}</div>
    {s.why && <p class="why"><Plain text={s.why} max={1000} /></p>}
    {s.at && <p class="faint small num"><Time at={s.at.stored} ms /> · {s.at.stream} sequence {s.at.sequence}{s.at.index > 0 ? `, event ${s.at.index + 1} of the message` : ''} · partition {s.at.partition}</p>}
    {s.decision === 'dead-lettered' && s.at && <p class="links"><a href={`${pageOf(of, 'letters')}?letter=${s.at.sequence}`}>The dead letter</a></p>}
    {added.length > 0 && <details open={added.length <= 8}><summary>{plural(added.length, 'member')} changed</summary>
      <table class="diff"><tbody>{added.map(([path, v]) => <tr key={path} class={v === null ? 'removed' : ''}><th scope="row"><span aria-hidden="true">{v === null ? '−' : '+'}</span> <Plain text={path} max={200} /></th><td><Plain text={v === null ? 'removed' : typeof v === 'string' ? v : JSON.stringify(v)} max={600} /></td></tr>)}</tbody></table></details>}
    {s.event ? <details><summary>The event as stored</summary><Json value={s.event} label={`The event after ${s.stage}`} /></details> : null}
    {s.size ? <Save url={`${base(of)}/trace/event${q({ id, step: n })}`} name="event.json">Download the event, {(s.size / 1024).toFixed(0)} KiB</Save> : null}
  </li>
}
