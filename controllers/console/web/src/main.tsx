// The console of Millrace.
import { render } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { get, signOut, type About, type Name, type Pipeline, Failure, type Problem } from './api'
import { Empty, Fault } from './parts'
import { go, pageOf, usePlace, useTheme, type Theme } from './state'
import { DeadLetters } from './pages/letters'
import { EventPage } from './pages/event'
import { GraphPage } from './pages/graph'
import { Incidents } from './pages/incidents'
import { Pipelines } from './pages/pipelines'
import { Tap } from './pages/tap'

const tabs: [string, string][] = [['', 'Graph'], ['incidents', 'Incidents'], ['event', 'Event'], ['tap', 'Tap'], ['letters', 'Dead letters']]

function App() {
  const place = usePlace()
  const [about, setAbout] = useState<About>()
  const [problem, setProblem] = useState<Problem>()
  const [all, setAll] = useState<Pipeline[]>([])
  useEffect(() => {
    let ended = false, timer = 0
    const ask = () => {
      Promise.all([get<About>('/api/v1/about'), get<{ pipelines: Pipeline[] }>('/api/v1/pipelines')]).then(([a, p]) => {
        if (ended) return
        setAbout(a); setAll(p.pipelines); setProblem(undefined)
      }, (e) => {
        if (ended || !(e instanceof Failure)) return
        setProblem(e.problem)
        if (e.problem.status !== 401) timer = setTimeout(ask, 3000)
      })
    }
    ask()
    return () => { ended = true; clearTimeout(timer) }
  }, [])

  const parts = place.path.split('/').filter(Boolean).map(decode)
  const of: Name | null = parts[0] === 'p' && parts[1] && parts[2] ? { namespace: parts[1], name: parts[2] } : null
  const tab = parts[3] ?? ''
  const title = of ? `${tabs.find(([t]) => t === tab)?.[1] ?? 'Page'} · ${of.name}` : 'Pipelines'
  useEffect(() => { document.title = `${title} · Millrace` }, [title])

  return <>
    <a class="skip" href="#main">Skip to content</a>
    <header class="top">
      <a href="/" class="brand"><img src="/icon.svg" alt="" width="22" height="22" /> Millrace</a>
      {of && <PipelineChoice of={of} all={all} tab={tab} />}
      <span class="grow" />
      {about?.readOnly && <span class="tag" title="Dead letters cannot be replayed here">read-only</span>}
      {about?.user && <span class="faint user" title={about.user}>{about.user.replace(/^system:serviceaccount:/, '')}</span>}
      {about?.session && <button type="button" class="quiet" onClick={() => { signOut().finally(() => location.reload()) }}>Sign out</button>}
      <ThemeChoice />
    </header>
    {of && <nav class="tabs" aria-label="Pages of the pipeline">
      {tabs.map(([t, name]) => <a key={t} href={pageOf(of, t)} aria-current={t === tab ? 'page' : undefined}>{name}</a>)}
    </nav>}
    <main id="main" tabIndex={-1}>
      {problem?.status === 401 ? <Fault problem={problem} />
        : of ? <Page key={pageOf(of, tab)} of={of} tab={tab} about={about} query={place.query} />
          : parts.length === 0 ? <Pipelines />
            : <Empty title="There is no such page"><a href="/">All pipelines</a></Empty>}
    </main>
    <footer class="bottom faint">Millrace {about?.version ?? ''} · <a href="/licenses.txt">licenses</a> · times are those of this browser</footer>
  </>
}

function decode(s: string): string {
  try { return decodeURIComponent(s) } catch { return s }
}

function Page({ of, tab, about, query }: { of: Name; tab: string; about: About | undefined; query: URLSearchParams }) {
  switch (tab) {
    case '': return <GraphPage of={of} query={query} />
    case 'incidents': return <Incidents of={of} query={query} />
    case 'event': return <EventPage of={of} query={query} />
    case 'tap': return <Tap of={of} query={query} />
    case 'letters': return <DeadLetters of={of} query={query} readOnly={about?.readOnly ?? true} />
  }
  return <Empty title="There is no such page"><a href={pageOf(of)}>Graph of {of.name}</a></Empty>
}

function PipelineChoice({ of, all, tab }: { of: Name; all: Pipeline[]; tab: string }) {
  const value = `${of.namespace}/${of.name}`
  if (all.length < 2) return <span class="crumb"><span class="faint">/</span> <span class="faint">{of.namespace}/</span><b>{of.name}</b></span>
  return <span class="crumb"><span class="faint">/</span> <select aria-label="Pipeline" value={value} onChange={(e) => {
    const p = all.find((p) => `${p.namespace}/${p.name}` === e.currentTarget.value)
    if (p) go(pageOf(p, tab))
  }}>
    {!all.some((p) => `${p.namespace}/${p.name}` === value) && <option value={value}>{value}</option>}
    {all.map((p) => { const v = `${p.namespace}/${p.name}`; return <option key={v} value={v} selected={v === value}>{v}</option> })}
  </select></span>
}

function ThemeChoice() {
  const [theme, set] = useTheme()
  const next: Record<Theme, Theme> = { auto: 'light', light: 'dark', dark: 'auto' }
  const glyph: Record<Theme, string> = { auto: '◐', light: '☀', dark: '☾' }
  return <button type="button" class="quiet theme" onClick={() => set(next[theme])} aria-label={`Theme: ${theme}. Change to ${next[theme]}`} title={`Theme: ${theme}`}>
    <span aria-hidden="true">{glyph[theme]}</span> {theme}
  </button>
}

// Links of the console change the page without loading it again.
document.addEventListener('click', (e) => {
  if (e.defaultPrevented || e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return
  const link = (e.target as Element).closest?.('a[href]')
  if (!(link instanceof HTMLAnchorElement) || link.target || link.origin !== location.origin) return
  const url = link.pathname + link.search
  if (link.hash || link.pathname === '/licenses.txt') return
  e.preventDefault()
  const other = link.pathname !== location.pathname
  go(url)
  if (other) { scrollTo(0, 0); document.getElementById('main')?.focus({ preventScroll: true }) }
})

render(<App />, document.getElementById('app')!)
