// The stages and streams of a pipeline, live.
import { Component, type ComponentChildren } from 'preact'
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { base, type Edge, type EdgeFlow, type Flow, type Graph, type Health, type Name, type Series, type Stage, type StageFlow } from '../api'
import { Chart } from '../chart'
import { bytes, count, duration, plural, rate } from '../format'
import { layout, type Drawing, type NodeBox } from '../layout'
import { Empty, Fact, Fault, HealthMark, Legend, LineMark, Loading, Plain, Time } from '../parts'
import { pageOf, setQuery, useGet, useLive } from '../state'

// keep is how many live readings a time line holds: an hour of them.
const keep = 1800

export function GraphPage({ of, query }: { of: Name; query: URLSearchParams }) {
  const graph = useGet<Graph>(`${base(of)}/graph`)
  const [flows, setFlows] = useState<Flow[]>([])
  const { line, problem } = useLive(graph.data ? `${base(of)}/flow` : null, (kind, data) => {
    if (kind === 'flow') setFlows((f) => [...f.slice(-keep + 1), data as Flow])
  })
  // A reading of another graph has other places: the graph is asked for again, and old readings are dropped.
  const newest = flows.at(-1)
  const stale = newest !== undefined && graph.data !== undefined && newest.graph !== graph.data.revision
  useEffect(() => { if (stale) graph.reload() }, [stale, newest?.graph])
  const fitting = useMemo(() => flows.filter((f) => f.graph === graph.data?.revision), [flows, graph.data])
  const flow = fitting.at(-1)
  const selected = query.get('sel') ?? ''
  if (!graph.data) return graph.problem ? <Fault problem={graph.problem} again={graph.reload} /> : <Loading what="the graph" />
  const g = graph.data
  return <>
    <div class="head"><h1>{g.name}</h1><span class="faint">{plural(g.stages.length, 'stage')}</span><LineMark line={graph.data ? line : 'connecting'} /><span class="grow" /><Legend /></div>
    {problem && line === 'lost' && <Fault problem={problem} />}
    {flow?.problems?.map((p) => <p key={p} class="notice"><Plain text={p} max={400} /></p>)}
    <div class="split">
      <Canvas g={g} flow={flow} selected={selected} />
      <Details of={of} g={g} flows={fitting} selected={selected} />
    </div>
    {g.warnings && g.warnings.length > 0 && <details class="panel"><summary>{plural(g.warnings.length, 'warning')} of the planner</summary><ul>{g.warnings.map((w) => <li key={w}><Plain text={w} /></li>)}</ul></details>}
  </>
}

// Same renders its children anew only when what they show has changed: most of a large graph is as it was two seconds ago.
class Same extends Component<{ on: unknown; shows: string; children: ComponentChildren }> {
  override shouldComponentUpdate(next: Same['props']) { return next.on !== this.props.on || next.shows !== this.props.shows }
  override render() { return this.props.children }
}

const edgeKey = (e: Edge) => `edge:${e.from}/${e.port}>${e.to ?? ''}`

function Canvas({ g, flow, selected }: { g: Graph; flow: Flow | undefined; selected: string }) {
  const box = useRef<HTMLDivElement>(null)
  const [width, setWidth] = useState(0)
  const [zoom, setZoom] = useState(0) // 0 = fit
  useEffect(() => {
    const observer = new ResizeObserver(() => setWidth(box.current?.clientWidth ?? 0))
    observer.observe(box.current!)
    return () => observer.disconnect()
  }, [])
  const narrow = width > 0 && width < 640
  const drawing = useMemo(() => layout(g, narrow), [g, narrow])
  const ingressEdge = g.edges.findIndex((e) => e.from === 'ingress')
  const fit = width ? Math.max(narrow ? 0.6 : 0.5, Math.min(1, (width - 2) / drawing.width)) : 1
  const scale = zoom || fit
  const step = (by: number) => setZoom(Math.max(0.3, Math.min(1.6, scale * by)))
  return <section class="canvas" aria-label="Graph">
    <div class="zoom" role="group" aria-label="Size of the graph">
      <button type="button" aria-label="Smaller" onClick={() => step(1 / 1.2)}>−</button>
      <button type="button" onClick={() => setZoom(0)} aria-pressed={zoom === 0}>fit</button>
      <button type="button" aria-label="Larger" onClick={() => step(1.2)}>+</button>
    </div>
    <div class="scroll" ref={box} tabIndex={0} role="group" aria-label="Stages and streams">
      {width > 0 && <div style={{ width: `${drawing.width * scale}px`, height: `${drawing.height * scale}px` }} class="sheet">
        <div class="scaled" style={{ width: `${drawing.width}px`, height: `${drawing.height}px`, transform: `scale(${scale})` }}>
          <Same on={drawing} shows={JSON.stringify([selected, drawing.edges.map((e) => { const f = flow?.edges[e.index]; return [pressure(f), thickness(f)] })])}>
            <Lines d={drawing} g={g} flow={flow} selected={selected} />
          </Same>
          {drawing.nodes.map((n) => <Same key={n.id} on={drawing} shows={JSON.stringify([selected === n.id, n.kind === 'stage' ? flow?.stages[n.stage] : n.kind === 'end' ? n.ends.map((i) => flow?.edges[i]?.events) : flow?.edges[ingressEdge]?.events])}>
            <Node n={n} g={g} flow={flow} selected={selected} />
          </Same>)}
          {drawing.edges.map((e) => { const edge = g.edges[e.index]!, f = flow?.edges[e.index]; return <Same key={e.index} on={drawing} shows={JSON.stringify([selected === edgeKey(edge), f])}>
            <EdgeLabel box={e.label} edge={edge} flow={f} selected={selected} />
          </Same> })}
        </div>
      </div>}
    </div>
  </section>
}

// pressure of an edge: how far its reader is behind, in seconds of waiting.
function pressure(f: EdgeFlow | undefined): Health | '' {
  if (!f || f.lag === undefined) return ''
  const age = f.oldestAge ?? 0
  if (f.lag === 0 || age < 5) return 'ok'
  return age < 60 ? 'slow' : 'stuck'
}

// thickness of the line of an edge, to a tenth of a pixel: the logarithm of its events.
const thickness = (f: EdgeFlow | undefined) => Math.round(10 * Math.min(5, 1.3 + Math.log10(1 + (f?.events ?? 0)) * 0.7)) / 10

function Lines({ d, g, flow, selected }: { d: Drawing; g: Graph; flow: Flow | undefined; selected: string }) {
  return <svg width={d.width} height={d.height} aria-hidden="true">
    <defs>{['', 'ok', 'slow', 'stuck', 'sel'].map((k) => <marker key={k} id={`arrow${k}`} viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" orient="auto-start-reverse"><path class={`head ${k}`} d="M0,0 L8,4 L0,8 z" /></marker>)}</defs>
    {d.edges.map((e) => {
      const edge = g.edges[e.index]!, f = flow?.edges[e.index]
      const kind = selected === edgeKey(edge) ? 'sel' : pressure(f)
      return <path key={e.index} d={e.path} class={`wire ${kind} ${edge.stream ? '' : 'memory'}`} marker-end={`url(#arrow${kind})`}
        stroke-width={thickness(f)} />
    })}
  </svg>
}

const at = (b: { x: number; y: number; width: number; height: number }) => ({ left: `${b.x}px`, top: `${b.y}px`, width: `${b.width}px`, height: `${b.height}px` })
const choose = (key: string, selected: string) => setQuery({ sel: key === selected ? undefined : key }, true)

function Node({ n, g, flow, selected }: { n: NodeBox; g: Graph; flow: Flow | undefined; selected: string }) {
  if (n.kind === 'ingress') {
    const i = g.edges.findIndex((e) => e.from === 'ingress')
    return <div class="node plainnode" style={at(n)}><b>ingress</b><span class="num">{rate(flow?.edges[i]?.events)}</span></div>
  }
  if (n.kind === 'end') {
    const sum = n.ends.reduce<number | undefined>((s, i) => flow?.edges[i]?.events === undefined ? s : (s ?? 0) + flow.edges[i]!.events!, undefined)
    return <div class="node plainnode" style={at(n)} title={n.label}>
      {n.label === 'insights' ? <a href={pageOf(g, 'incidents')}>insights</a> : <b>{n.label}</b>}
      <span class="num">{rate(sum)}</span>
    </div>
  }
  const s = g.stages[n.stage]!
  const f = flow?.stages[n.stage]
  const key = n.id
  return <button type="button" class={`node stage ${f?.health ?? 'unknown'}`} style={at(n)} aria-pressed={selected === key} onClick={() => choose(key, selected)}
    title={f?.why ?? ''}>
    <span class="name"><HealthMark health={f?.health ?? 'unknown'} /> <b>{s.name}</b></span>
    <span class="nums"><span class="kind">{s.kind}{s.suspended ? ', suspended' : ''}{s.head ? `, in ${s.head}` : ''}</span>{f?.processed !== undefined && <span title="events that it acknowledges">{rate(f.processed)}</span>}</span>
    <span class="nums"><span title="half of the messages are faster">p50 {duration(f?.p50)}</span><span title="99 of 100 messages are faster">p99 {duration(f?.p99)}</span></span>
    <span class="nums"><span class={f?.deadLetters ? 'bad' : ''}>errors {rate(f?.deadLetters)}</span><span>{workers(f)}</span></span>
  </button>
}

function workers(f: StageFlow | undefined): string {
  if (!f || f.workers === undefined) return ''
  return f.wanted !== undefined && f.wanted !== f.workers ? `workers ${f.workers} of ${f.wanted}` : `workers ${f.workers}`
}

function EdgeLabel({ box, edge, flow, selected }: { box: { x: number; y: number; width: number; height: number }; edge: Edge; flow: EdgeFlow | undefined; selected: string }) {
  const key = edgeKey(edge)
  const name = `from ${edge.from}${edge.from === 'ingress' ? '' : `/${edge.port}`} to ${edge.to ?? edge.stream ?? 'nobody'}`
  if (!edge.stream) return <div class="edge memory" style={at(box)} title={`${name}, in the memory of one worker`}>in memory</div>
  const p = pressure(flow)
  return <button type="button" class={`edge ${p}`} style={at(box)} aria-pressed={selected === key} onClick={() => choose(key, selected)} title={name}>
    <span class="sr">{name}: </span>
    <b>{rate(flow?.events)}</b>
    {flow?.lag !== undefined && flow.lag > 0
      ? <span class={p === 'ok' ? '' : 'bad'}>lag {count(flow.lag)}{flow.oldestAge !== undefined && flow.oldestAge >= 1 ? `, ${duration(flow.oldestAge)}` : ''}</span>
      : flow?.lag === 0 ? <span class="faint">lag 0</span> : edge.port !== 'out' && edge.from !== 'ingress' ? <span class="faint">{edge.port}</span> : null}
  </button>
}

function Details({ of, g, flows, selected }: { of: Name; g: Graph; flows: Flow[]; selected: string }) {
  const stage = g.stages.findIndex((s) => selected === `stage:${s.name}`)
  const edge = g.edges.findIndex((e) => selected === edgeKey(e))
  return <section class="panel selected" aria-label="Selected">
    {stage >= 0 ? <StageDetails of={of} stage={g.stages[stage]!} index={stage} flows={flows} />
      : edge >= 0 ? <EdgeDetails of={of} edge={g.edges[edge]!} index={edge} flows={flows} />
        : <Empty title="Nothing selected">Select a stage or the numbers on a stream: its last hour is shown here.</Empty>}
  </section>
}

// useSeries joins what the server remembers with what has come in since.
function useSeries(url: string, flows: Flow[], pick: (f: Flow) => Record<string, number | null> | undefined, names: string[]): Series {
  const past = useGet<Series>(url)
  return useMemo(() => {
    const at = [...past.data?.at ?? []]
    const values = Object.fromEntries(names.map((n) => [n, [...past.data?.values[n] ?? at.map(() => null)]]))
    const last = at.at(-1) ?? 0
    for (const f of flows) {
      const t = new Date(f.at).getTime() / 1000
      const v = pick(f)
      if (!v || t <= last + 0.001) continue
      at.push(t)
      for (const n of names) values[n]!.push(v[n] ?? null)
    }
    return { at, values }
  }, [past.data, flows, url])
}

function StageDetails({ of, stage, index, flows }: { of: Name; stage: Stage; index: number; flows: Flow[] }) {
  const f = flows.at(-1)?.stages[index]
  const s = useSeries(`${base(of)}/history?stage=${encodeURIComponent(stage.name)}`, flows,
    (f) => { const x = f.stages[index]; return x && { p50: x.p50 ?? null, p99: x.p99 ?? null, deadLetters: x.deadLetters ?? null, processed: x.processed ?? null } }, ['p50', 'p99', 'deadLetters', 'processed'])
  return <>
    <h2><HealthMark health={f?.health ?? 'unknown'} text /> · {stage.name}</h2>
    {f?.why && <p class="why"><Plain text={f.why} max={400} /></p>}
    <dl class="facts">
      <Fact name="Kind">{stage.kind}{stage.stateful ? ', remembers events' : ''}</Fact>
      <Fact name="Workers">{f?.workers === undefined ? 'not known' : `${f.workers}${f.wanted !== undefined ? ` of ${f.wanted}` : ''}`}{stage.lanes > 0 ? `, at most ${stage.lanes} at work` : ''}</Fact>
      {stage.head && <Fact name="Runs in the workers of">{stage.head}</Fact>}
      {f?.breakerOpen && <Fact name="Circuit breaker">open since <Time at={f.breakerOpen} />{f.breaker ? <>, for <Plain text={f.breaker} /></> : null}</Fact>}
    </dl>
    <div class="charts">
    <Chart title="Latency" at={s.at} curves={[{ name: 'p50', color: '--curve1', values: s.values.p50!, format: duration }, { name: 'p99', color: '--curve2', values: s.values.p99!, format: duration }]} />
    <Chart title="Dead letters" at={s.at} curves={[{ name: 'errors', color: '--curve3', values: s.values.deadLetters!, format: rate }]} />
    <Chart title="Processed" at={s.at} curves={[{ name: 'acknowledged', color: '--curve1', values: s.values.processed!, format: rate }]} />
    </div>
    <p class="links">{stage.ports.filter((p) => p !== 'dead-letter').map((p) => <a key={p} href={`${pageOf(of, 'tap')}?port=${encodeURIComponent(`${stage.name}/${p}`)}`}>Tap {p}</a>)}
      <a href={`${pageOf(of, 'letters')}?stage=${encodeURIComponent(stage.name)}`}>Dead letters</a></p>
  </>
}

function EdgeDetails({ of, edge, index, flows }: { of: Name; edge: Edge; index: number; flows: Flow[] }) {
  const f = flows.at(-1)?.edges[index]
  const s = useSeries(`${base(of)}/history?edge=${index}`, flows,
    (f) => { const x = f.edges[index]; return x && { events: x.events ?? null, lag: x.lag ?? null, oldestAge: x.oldestAge ?? null } }, ['events', 'lag', 'oldestAge'])
  const port = edge.from === 'ingress' ? 'ingress' : `${edge.from}/${edge.port}`
  return <>
    <h2>{port} <span class="faint">→</span> {edge.to ?? 'nobody'}</h2>
    <dl class="facts">
      <Fact name="Stream">{edge.stream}{edge.partitions ? `, ${plural(edge.partitions, 'partition')}` : ''}</Fact>
      <Fact name="Holds">{bytes(f?.bytes)} in {count(f?.messages)} messages</Fact>
      {edge.to && <Fact name="Lag">{count(f?.lag)} events{f?.oldestAge !== undefined && (f.lag ?? 0) > 0 ? `, the oldest stored ${duration(f.oldestAge)} ago` : ''}</Fact>}
    </dl>
    <div class="charts">
    <Chart title="Events" at={s.at} curves={[{ name: 'stored', color: '--curve1', values: s.values.events!, format: rate }]} />
    {edge.to && <Chart title="Lag" at={s.at} curves={[{ name: 'events', color: '--curve2', values: s.values.lag!, format: count }]} />}
    {edge.to && <Chart title="Age of the oldest" at={s.at} curves={[{ name: 'oldest', color: '--curve3', values: s.values.oldestAge!, format: duration }]} />}
    </div>
    <p class="links"><a href={`${pageOf(of, 'tap')}?port=${encodeURIComponent(port)}`}>Tap {port}</a></p>
  </>
}
