// All pipelines, one row each.
import { useState } from 'preact/hooks'
import type { Summary } from '../api'
import { count, duration, rate } from '../format'
import { Empty, Fault, HealthMark, LineMark, Loading, Plain } from '../parts'
import { pageOf, useLive } from '../state'

export function Pipelines() {
  const [rows, set] = useState<Summary[]>()
  const { line, problem } = useLive('/api/v1/pipelines/live', (kind, data) => {
    if (kind === 'pipelines') set((data as { pipelines: Summary[] }).pipelines)
  })
  return <>
    <div class="head"><h1>Pipelines</h1><LineMark line={line} /></div>
    {problem && line === 'lost' && <Fault problem={problem} />}
    {!rows ? !problem && <Loading what="pipelines" />
      : rows.length === 0 ? <Empty title="There are no pipelines yet">Apply one with <code>kubectl apply -f pipeline.yaml</code>, or run one with <code>millrace run -f pipeline.yaml --console 127.0.0.1:8080</code>.</Empty>
        : <table class="cards">
          <thead><tr>
            <th scope="col">Pipeline</th><th scope="col">State</th><th scope="col" class="n">Events in</th><th scope="col" class="n">Lag</th>
            <th scope="col" class="n" title="99 of 100 messages were faster, in the slowest stage">p99</th><th scope="col" class="n">Incidents open</th>
            <th scope="col" class="n">Dead letters, 1 h</th>
          </tr></thead>
          <tbody>{rows.map((r) => <Row key={`${r.namespace}/${r.name}`} r={r} />)}</tbody>
        </table>}
  </>
}

function Row({ r }: { r: Summary }) {
  const why = r.ready ? r.why ?? r.problem : r.message ?? r.reason
  return <tr>
    <th scope="row"><a href={pageOf(r)}><span class="faint">{r.namespace}/</span>{r.name}</a><div class="faint small">{count(r.stages)} stages</div></th>
    <td data-label="State" class="wide">
      {r.ready ? <><HealthMark health={r.health ?? 'unknown'} text /> <span class="faint">ready</span></>
        : <><span class={r.reason ? 'health failing' : 'health unknown'}><span aria-hidden="true">{r.reason ? '✕' : '○'}</span> {r.reason || 'not known'}</span></>}
      {why && <div class="faint small"><Plain text={why} max={200} /></div>}
    </td>
    <td data-label="Events in" class="n">{rate(r.events)}</td>
    <td data-label="Lag" class="n">{count(r.lag)}</td>
    <td data-label="p99" class="n">{duration(r.p99)}</td>
    <td data-label="Incidents open" class="n"><a href={`${pageOf(r, 'incidents')}?open=true`}>{count(r.open)}<span class="sr"> open incidents of {r.name}</span></a></td>
    <td data-label="Dead letters, 1 h" class="n"><a href={`${pageOf(r, 'letters')}?since=1h`}>{count(r.deadLetters)}<span class="sr"> dead letters of {r.name} in the last hour</span></a></td>
  </tr>
}
