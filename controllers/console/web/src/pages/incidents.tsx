// What was found.
import { useMemo, useState } from 'preact/hooks'
import { base, query as q, type Evidence, type Incident, type Name } from '../api'
import { ago, clock, count, duration, plural } from '../format'
import { Empty, Fact, Fault, Field, Json, LineMark, Loading, Plain, Select, Severity, Time } from '../parts'
import { address, pageOf, setQuery, useGet, useLive, useNow } from '../state'

export function Incidents({ of, query }: { of: Name; query: URLSearchParams }) {
  const value = (name: string) => query.get(name) ?? ''
  const url = `${base(of)}/incidents/live${q({ open: value('open') === 'true', namespace: value('namespace'), entity: value('entity'), severity: value('severity'), since: value('since') })}`
  const [state, set] = useState<{ url: string; list: Incident[] }>()
  const { line, problem } = useLive(url, (kind, data) => {
    if (kind === 'incidents') set({ url, list: (data as { incidents: Incident[] }).incidents })
  })
  const list = useMemo(() => state && [...state.list].sort((a, b) => Number(b.status === 'open') - Number(a.status === 'open') || rank(b.severity) - rank(a.severity) || b.last.localeCompare(a.last)), [state])
  const open = list?.filter((i) => i.status === 'open').length ?? 0
  const id = value('id')
  return <>
    <div class="head"><h1>Incidents</h1>{list && <span class="faint">{count(open)} open, {count(list.length - open)} closed</span>}<LineMark line={line} /></div>
    <form class="filters" role="search" aria-label="Filter incidents" onSubmit={(e) => e.preventDefault()}>
      <Select label="Show" value={value('open')} set={(v) => setQuery({ open: v })} options={[['', 'open and closed'], ['true', 'open only']]} />
      <Select label="Severity, at least" value={value('severity')} set={(v) => setQuery({ severity: v })} options={[['', 'any'], ['warning', 'warning'], ['error', 'error'], ['fatal', 'fatal']]} />
      <Select label="Seen in" value={value('since')} set={(v) => setQuery({ since: v })} options={[['', 'all that is stored'], ['15m', 'the last 15 min'], ['1h', 'the last hour'], ['24h', 'the last day']]} />
      <Field label="Namespace" value={value('namespace')} set={(v) => setQuery({ namespace: v })} hint="shop" />
      <Field label="Workload or entity" value={value('entity')} set={(v) => setQuery({ entity: v })} hint="cart" />
    </form>
    {problem && line === 'lost' && <Fault problem={problem} />}
    {!list ? !problem && <Loading what="incidents" />
      : list.length === 0 ? <Empty title="No incidents">{query.size > 0 ? <a href={pageOf(of, 'incidents')}>Show all</a> : 'Stages of the kinds correlate and analyze report what they find. Nothing was found, or its stream has dropped it.'}</Empty>
        : <div class="split list">
          <ul class="rows" aria-label="Incidents">{list.map((i) => <Row key={i.id} i={i} selected={i.id === id} query={query} of={of} />)}</ul>
          <section class="panel details" aria-label="Incident">{id ? <Detail key={id} of={of} id={id} revision={list.find((i) => i.id === id)?.revision} /> : <Empty title="Nothing selected">Select an incident: its cause and evidence are shown here.</Empty>}</section>
        </div>}
  </>
}

// rank orders severities.
const rank = (severity: string) => ['info', 'warn', 'error', 'fatal'].indexOf(severity.toLowerCase().replace('warning', 'warn'))

function Row({ i, selected, query, of }: { i: Incident; selected: boolean; query: URLSearchParams; of: Name }) {
  return <li><a class="row" href={address(pageOf(of, 'incidents'), query, { id: i.id })} aria-current={selected ? 'true' : undefined}>
    <span class="rowtop"><Severity value={i.severity} />{i.status === 'open' ? <span class="tag open">open</span> : <span class="tag">closed</span>}<span class="grow" /><span class="faint"><Time at={i.last} /></span></span>
    <b class="rowtitle"><Plain text={i.title} max={300} /></b>
    <span class="faint small">{i.cause ? <>cause <Plain text={i.cause} max={120} /></> : 'no cause named'} · {plural(i.affected?.length ?? 0, 'entity', 'entities')} affected · {plural(i.count, 'event')}</span>
  </a></li>
}

function Detail({ of, id, revision }: { of: Name; id: string; revision: number | undefined }) {
  const answer = useGet<Incident>(`${base(of)}/incidents/${encodeURIComponent(id)}${revision ? `?revision=${revision}` : ''}`)
  const now = useNow(5000)
  const i = answer.data
  if (!i) return answer.problem ? <Fault problem={answer.problem} again={answer.reload} /> : <Loading what="the incident" />
  const event = (e: string) => `${pageOf(of, 'event')}?id=${encodeURIComponent(e)}`
  const evidence = i.evidence ?? []
  const cause = i.cause ? evidence.find((e) => e.entity === i.cause) ?? evidence[0] : evidence[0]
  return <article>
    <div class="rowtop"><Severity value={i.severity} />{i.status === 'open' ? <span class="tag open">open</span> : <span class="tag">closed</span>}<span class="faint">revision {i.revision}, seen {ago(i.last, now)}</span></div>
    <h2><Plain text={i.title} /></h2>
    <p><Plain text={i.summary} /></p>
    <dl class="facts">
      <Fact name="Probable cause">{i.cause ? <b><Plain text={i.cause} /></b> : 'none named'}</Fact>
      <Fact name="Confidence"><Confidence value={i.confidence} /> <span class="faint"><Plain text={i.confidenceMethod} max={300} /></span></Fact>
      <Fact name="Found by">stage {i.stage}{i.rule ? <>, rule <Plain text={i.rule} /></> : null}{i.algorithm ? <>, algorithm <Plain text={i.algorithm} /></> : null}</Fact>
      <Fact name="Lasted">{duration((new Date(i.last).getTime() - new Date(i.first).getTime()) / 1000)}, <Time at={i.first} /> to <Time at={i.last} /></Fact>
    </dl>
    <h3>Look at next</h3>
    <p class="links">
      {cause && <a href={event(cause.eventId)}>The first event and its way</a>}
      {i.cause && <a href={`${pageOf(of, 'event')}?entity=${encodeURIComponent(i.cause)}`}>Events of the cause</a>}
      {i.cause && <a href={`${pageOf(of, 'incidents')}?entity=${encodeURIComponent(i.cause)}`}>Other incidents of it</a>}
      <a href={`${pageOf(of)}?sel=${encodeURIComponent(`stage:${i.stage}`)}`}>The stage that found it</a>
    </p>
    <h3>Evidence <span class="faint">{plural(evidence.length, 'link')}, by time</span></h3>
    {evidence.length > 1 && <Strip evidence={evidence} cause={i.cause} />}
    <ol class="evidence">{evidence.map((e, n) => <li key={n} class={e.entity === i.cause ? 'cause' : ''}>
      <span class="when"><Time at={e.time} ms />{n > 0 && <span class="faint small num">+{duration(Math.max(0, (new Date(e.time).getTime() - new Date(evidence[0]!.time).getTime()) / 1000))}</span>}</span>
      <span class="what"><a href={event(e.eventId)}><Plain text={e.type} max={120} /></a> <span class="faint"><Plain text={e.entity} max={160} /></span>{e.relation && <span class="tag">{e.relation}</span>}
        {e.text && <span class="text"><Plain text={e.text} max={400} /></span>}</span>
    </li>)}</ol>
    <h3>Affected <span class="faint">{plural(i.affected?.length ?? 0, 'entity', 'entities')}</span></h3>
    {i.affected?.length ? <ul class="chips">{i.affected.slice(0, 60).map((a) => <li key={a}><a href={`${pageOf(of, 'event')}?entity=${encodeURIComponent(a)}`}><Plain text={a} max={160} /></a></li>)}{i.affected.length > 60 && <li class="faint">and {i.affected.length - 60} more, in the raw event</li>}</ul> : <p class="faint">Nothing but the cause.</p>}
    <details><summary>The raw event</summary><p class="faint">{i.at.stream}, sequence {i.at.sequence}</p><Json value={i.event} label="The insight as a CloudEvent" /></details>
  </article>
}

function Confidence({ value }: { value: number }) {
  return <span class="confidence"><meter min={0} max={1} value={value} aria-label="Confidence" /> <b class="num">{value.toFixed(2)}</b></span>
}

// Strip places the evidence on a line.
function Strip({ evidence, cause }: { evidence: Evidence[]; cause: string | undefined }) {
  const times = evidence.map((e) => new Date(e.time).getTime())
  const from = Math.min(...times), span = Math.max(1, Math.max(...times) - from)
  return <div class="strip"><svg width="100%" height="26" role="img" aria-label={`${evidence.length} events in ${duration(span / 1000)}`}>
    <line x1="1%" x2="99%" y1="13" y2="13" class="axis" />
    {evidence.map((e, i) => <circle key={i} cx={`${1 + 98 * (times[i]! - from) / span}%`} cy="13" r={e.entity === cause ? 6 : 4} class={e.entity === cause ? 'dot cause' : 'dot'}><title>{`${clock(e.time, true)} ${e.type}`}</title></circle>)}
  </svg><div class="faint small num ends"><span>{clock(evidence[0]!.time)}</span>{evidence.some((e) => e.entity === cause) && <span>● large: of the cause</span>}<span>+{duration(span / 1000)}</span></div></div>
}
