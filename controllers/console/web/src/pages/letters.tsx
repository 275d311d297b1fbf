// Events that a stage could not process, and how to publish them again.
import { useEffect, useRef, useState } from 'preact/hooks'
import { base, change, get, problemOf, query as q, type Job, type Letter, type LetterGroup, type Letters, type Name, type Problem, type Replay } from '../api'
import { bytes, count, duration, plural } from '../format'
import { Empty, Fact, Fault, Field, Loading, Plain, Save, Select, Time } from '../parts'
import { address, pageOf, setQuery, useGet, useVisible } from '../state'
import { PurgePanel } from './purge'
import { decodeBody } from './tap'

export function DeadLetters({ of, query, readOnly: always }: { of: Name; query: URLSearchParams; readOnly: boolean }) {
  // Who may not update the pipeline is not offered what would be refused.
  const may = useGet<{ mayReplay: boolean }>(always ? null : `${base(of)}/jobs`)
  const readOnly = always || !may.data?.mayReplay
  const value = (name: string) => query.get(name) ?? ''
  const chosen = { stage: value('stage'), reason: value('reason'), since: value('since'), filter: value('filter') }
  const answer = useGet<Letters>(`${base(of)}/letters${q({ ...chosen, before: value('before'), limit: 100 })}`)
  const [picked, pick] = useState<Set<number>>(new Set())
  const page = answer.data
  const total = page?.groups.reduce((n, g) => n + g.count, 0) ?? 0
  const letter = value('letter')
  const again = () => { pick(new Set()); answer.reload() }
  return <>
    <div class="head"><h1>Dead letters</h1>{page && <span class="faint">{plural(total, 'dead letter')}{Object.values(chosen).some(Boolean) ? ' chosen' : ''}</span>}<span class="grow" /><button type="button" onClick={answer.reload}>Read again</button></div>
    <form class="filters" role="search" aria-label="Choose dead letters" onSubmit={(e) => e.preventDefault()}>
      <Field label="Stage" value={chosen.stage} set={(v) => setQuery({ stage: v, before: undefined })} list={[...new Set(page?.groups.map((g) => g.stage))]} />
      <Field label="Reason" value={chosen.reason} set={(v) => setQuery({ reason: v, before: undefined })} list={[...new Set(page?.groups.map((g) => g.reason))]} />
      <Select label="Stored in" value={chosen.since} set={(v) => setQuery({ since: v, before: undefined })} options={[['', 'all that is stored'], ['15m', 'the last 15 min'], ['1h', 'the last hour'], ['24h', 'the last day']]} />
      <Field label="Filter (CEL)" value={chosen.filter} set={(v) => setQuery({ filter: v, before: undefined })} wide hint={'event.type == "demo.hello"'} />
      {query.size > 0 && <a class="clear" href={pageOf(of, 'letters')}>Clear</a>}
    </form>
    {answer.problem && <Fault problem={answer.problem} again={answer.reload} />}
    {!page ? !answer.problem && <Loading what="dead letters" />
      : page.groups.length === 0 ? <Empty title="No dead letters">{query.size > 0 ? <a href={pageOf(of, 'letters')}>Show all</a> : 'Every event that came in could be processed.'}</Empty>
        : <>
          {page.partial && <p class="notice">There are more dead letters than are read at once: older ones are neither listed nor counted. Choose a time or a reason.</p>}
          <Groups groups={page.groups} query={query} of={of} />
          <div class="split list">
            <div>
              {!readOnly && <>
                <ReplayPanel of={of} chosen={chosen} picked={picked} total={total} done={again} />
                <PurgePanel of={of} chosen={chosen} picked={picked} total={total} done={again} />
              </>}
              <List of={of} page={page} query={query} picked={picked} pick={pick} readOnly={readOnly} letter={letter} />
            </div>
            <section class="panel details" aria-label="Dead letter">{letter ? <One key={letter} of={of} sequence={letter} /> : <Empty title="Nothing selected">Select a dead letter: its error, headers and body are shown here.</Empty>}</section>
          </div>
        </>}
  </>
}

function Groups({ groups, query, of }: { groups: LetterGroup[]; query: URLSearchParams; of: Name }) {
  const most = Math.max(...groups.map((g) => g.count))
  return <table class="cards"><caption class="sr">Dead letters by stage and reason</caption><thead><tr><th scope="col">Stage</th><th scope="col">Reason</th><th scope="col" class="n">Dead letters</th><th scope="col" class="n">Replayed</th><th scope="col">First</th><th scope="col">Last</th></tr></thead>
    <tbody>{groups.map((g) => <tr key={`${g.stage}/${g.reason}`}>
      <th scope="row"><Plain text={g.stage} /></th>
      <td data-label="Reason"><a href={address(pageOf(of, 'letters'), query, { stage: g.stage, reason: g.reason, before: undefined, letter: undefined })}><Plain text={g.reason} max={100} /></a></td>
      <td data-label="Dead letters" class="n"><span class="amount"><span class="bar"><span style={{ width: `${Math.max(2, 100 * g.count / most)}%` }} /></span><b>{count(g.count)}</b></span></td>
      <td data-label="Replayed" class="n">{count(g.replayed)}</td><td data-label="First"><Time at={g.first} /></td><td data-label="Last"><Time at={g.last} /></td>
    </tr>)}</tbody></table>
}

const wasReplayed = (l: Letter) => Boolean(l.replayed && !l.replayed.startsWith('0001'))

function List({ of, page, query, picked, pick, readOnly, letter }: {
  of: Name; page: Letters; query: URLSearchParams; picked: Set<number>; pick: (s: Set<number>) => void; readOnly: boolean; letter: string
}) {
  const toggle = (n: number) => { const s = new Set(picked); if (!s.delete(n)) s.add(n); pick(s) }
  const all = page.letters.length > 0 && page.letters.every((l) => picked.has(l.sequence))
  const last = page.letters.at(-1)?.sequence
  return <>
    <table class="letters"><caption class="sr">Dead letters, the newest first</caption><thead><tr>
      {!readOnly && <th scope="col"><input type="checkbox" aria-label="Choose all on this page" checked={all} onChange={() => pick(all ? new Set() : new Set(page.letters.map((l) => l.sequence)))} /></th>}
      <th scope="col">Stored</th><th scope="col">Stage, reason</th><th scope="col">Error</th>
    </tr></thead><tbody>{page.letters.map((l) => <tr key={l.sequence} class={String(l.sequence) === letter ? 'current' : ''}>
      {!readOnly && <td><input type="checkbox" aria-label={`Choose dead letter ${l.sequence}`} checked={picked.has(l.sequence)} onChange={() => toggle(l.sequence)} /></td>}
      <td class="nowrap"><a href={address(pageOf(of, 'letters'), query, { letter: String(l.sequence) })}><Time at={l.stored} ms /><span class="sr"> dead letter {l.sequence}</span></a></td>
      <td><b>{l.stage}</b> <span class="faint"><Plain text={l.reason} max={80} /></span>{wasReplayed(l) && <> <span class="tag replayed">replayed</span></>}</td>
      <td class="wide"><Plain text={l.error} max={160} /></td>
    </tr>)}</tbody></table>
    <p class="links">{query.get('before') && <a href={address(pageOf(of, 'letters'), query, { before: undefined })}>Newest</a>}{page.more && last && <a href={address(pageOf(of, 'letters'), query, { before: String(last) })}>Older</a>}</p>
  </>
}

function One({ of, sequence }: { of: Name; sequence: string }) {
  const answer = useGet<Letter>(`${base(of)}/letters/${encodeURIComponent(sequence)}`)
  const l = answer.data
  if (!l) return answer.problem ? <Fault problem={answer.problem} again={answer.reload} /> : <Loading what="the dead letter" />
  const header = Object.entries(l.header ?? {})
  return <article>
    <h2>Dead letter {l.sequence}</h2>
    <p class="why bad"><Plain text={l.error} max={2000} /></p>
    <dl class="facts">
      <Fact name="Stage">{l.stage}, <Plain text={l.reason} /></Fact>
      <Fact name="Stored"><Time at={l.stored} ms />, after {plural(l.attempts, 'attempt')}</Fact>
      <Fact name="Received from"><Plain text={l.from.stream} />{l.from.sequence ? `, sequence ${l.from.sequence}` : ''} <span class="faint"><Plain text={l.from.subject} /></span></Fact>
      {wasReplayed(l) && <Fact name="Replayed"><Time at={l.replayed} /></Fact>}
      {l.eventId && <Fact name="Event"><a href={`${pageOf(of, 'event')}?id=${encodeURIComponent(l.eventId)}`}><Plain text={l.eventId} max={120} /></a></Fact>}
    </dl>
    {header.length > 0 && <><h3>Headers of the sender</h3><table class="diff"><tbody>{header.map(([k, v]) => <tr key={k}><th scope="row"><Plain text={k} max={200} /></th><td><Plain text={v.join(', ')} max={600} /></td></tr>)}</tbody></table></>}
    <h3>Body <span class="faint">{bytes(l.size)}{l.truncated ? ', not whole: it was too large to be kept' : ''}</span></h3>
    <pre class="code" tabIndex={0} aria-label="Body of the dead letter"><Plain text={pretty(decodeBody(l.body))} max={20_000} /></pre>
    <Save url={`${base(of)}/letters/${l.sequence}/body`} name={`dead-letter-${l.sequence}`}>Download the body</Save>
  </article>
}

function pretty(s: string): string {
  try { return JSON.stringify(JSON.parse(s), null, 2) } catch { return s }
}

export interface Chosen { stage: string; reason: string; since: string; filter: string }
export interface Choice { of: Name; chosen: Chosen; picked: Set<number>; total: number; done: () => void }

// selection is what the server is asked for: the dead letters that were ticked, or all of the filter.
export function selection(chosen: Chosen, picked: number[] | undefined) {
  if (picked) return { stage: '', reason: '', filter: '', sequences: picked }
  const since = chosen.since ? { since: new Date(Date.now() - parseAge(chosen.since)).toISOString() } : {}
  return { stage: chosen.stage, reason: chosen.reason, filter: chosen.filter, ...since }
}

const parseAge = (s: string) => Number.parseInt(s, 10) * (s.endsWith('h') ? 3_600_000 : 60_000)

export const inOrder = (picked: Set<number>) => picked.size > 0 ? [...picked].sort((a, b) => a - b) : undefined

// ReplayPanel publishes dead letters again: a dry run first, which counts them.
function ReplayPanel({ of, chosen, picked, total, done }: Choice) {
  const [rate, setRate] = useState('100')
  const [again, setAgain] = useState(false)
  const [problem, setProblem] = useState<Problem>()
  const [jobs, setJobs] = useState<Job[]>([])
  const [tried, setTried] = useState<{ key: string; job: Job }>()
  const [busy, setBusy] = useState(false)
  const visible = useVisible()
  const running = jobs.some((j) => j.state === 'running')
  const what = inOrder(picked)
  const key = JSON.stringify([what, what ? null : chosen, rate, again])
  const url = `${base(of)}/jobs`

  const failed = (e: unknown) => setProblem(problemOf(e))
  const before = useRef<Job[]>([])
  useEffect(() => {
    if (!visible) return
    let ended = false, timer = 0
    const ask = () => void get<{ jobs: Job[] }>(url).then(({ jobs: list }) => {
      if (ended) return
      const finished = before.current.some((b) => b.state === 'running' && list.find((j) => j.id === b.id)?.state !== 'running')
      before.current = list
      setJobs(list)
      if (finished) done()
      timer = setTimeout(ask, list.some((j) => j.state === 'running') ? 500 : 5000)
    }, () => { if (!ended) timer = setTimeout(ask, 5000) })
    ask()
    return () => { ended = true; clearTimeout(timer) }
  }, [visible, running, url])

  const start = (dryRun: boolean) => {
    const r: Replay = { ...selection(chosen, what), rate: Number(rate) || 0, again, dryRun }
    setBusy(true); setProblem(undefined)
    change<Job>('POST', url, r).then((j) => {
      if (dryRun) { setTried({ key, job: j }); return }
      setTried(undefined)
      before.current = [j, ...before.current]
      setJobs(before.current)
    }, failed).finally(() => setBusy(false))
  }
  const act = (method: 'POST' | 'DELETE', path: string) => void change(method, `${url}/${path}`).then(() => undefined, failed)
  const result = tried?.key === key ? tried.job : undefined
  const passed = result ? result.before + result.truncated : 0
  return <section class="panel replay" aria-label="Replay">
    <h2>Replay</h2>
    <p>{what ? <>The <b>{plural(what.length, 'dead letter')}</b> you chose.</> : <>All <b>{plural(total, 'dead letter')}</b> of the filter above; tick single ones below to choose them alone.</>} <span class="faint">Each is published again at the ingress as it was received, and marked. Nothing is deleted.</span></p>
    <div class="filters">
      <Select label="Rate" value={rate} set={setRate} options={[['10', '10/s'], ['100', '100/s'], ['1000', '1,000/s'], ['0', 'as fast as it goes']]} />
      <label class="check"><input type="checkbox" checked={again} onChange={() => setAgain(!again)} /> also those that were replayed before</label>
      <button type="button" disabled={busy} onClick={() => start(true)}>Dry run</button>
      <button type="button" class="primary" disabled={busy || !result?.published} onClick={() => start(false)}>{result?.published ? `Replay ${plural(result.published, 'dead letter')}` : 'Replay'}</button>
    </div>
    <p role="status" class={result ? '' : 'faint'}>{busy ? 'One moment …' : result ? <>Dry run: <b>{plural(result.published, 'dead letter')}</b> would be published{passed > 0 ? `; ${count(passed)} passed over: ${[result.before && `${count(result.before)} replayed before`, result.truncated && `${count(result.truncated)} not whole`].filter(Boolean).join(', ')}` : ''}.</> : 'A dry run counts first, and publishes nothing.'}</p>
    {problem && <Fault problem={problem} />}
    {jobs.length > 0 && <ul class="jobs" aria-label="Jobs">{jobs.slice(0, 5).map((j) => <JobRow key={j.id} j={j} cancel={() => act('DELETE', encodeURIComponent(j.id))} resume={() => act('POST', `${encodeURIComponent(j.id)}/resume`)} />)}</ul>}
  </section>
}

function JobRow({ j, cancel, resume }: { j: Job; cancel: () => void; resume: () => void }) {
  const running = j.state === 'running'
  const passed = j.before + j.truncated
  const took = (new Date(j.updated).getTime() - new Date(j.started).getTime()) / 1000
  return <li>
    <span class={`tag job ${j.state}`}>{j.stalled ? 'stalled' : j.state}</span> <Time at={j.started} />
    <span><b class="num">{count(j.published)}</b> published{passed ? `, ${count(passed)} passed over` : ''}{running ? '' : <span class="faint"> in {duration(took)}</span>}</span>
    {running && <progress max={Math.max(1, j.end)} value={j.last} aria-label="Progress of the replay" />}
    {j.error && <span class="bad"> <Plain text={j.error} max={300} /></span>}
    {running && <button type="button" onClick={cancel}>Cancel</button>}
    {j.stalled && <button type="button" onClick={resume}>Go on</button>}
  </li>
}
