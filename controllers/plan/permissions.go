package plan

import (
	"slices"

	"millrace.dev/millrace/workers/config"
)

// OperatorInbox starts the subjects that the operator listens on.
const OperatorInbox = "_INBOX_millrace-operator"

// ViewerInbox starts the subjects on which people who look at pipelines, or replay dead letters, listen for answers.
const ViewerInbox = "_INBOX_millrace-viewer"

// User is one NATS user and all that it may do: what is not named is denied.
type User struct {
	// Name is <namespace>.<pipeline>.<stage>, millrace-operator, millrace-collector, or one of the roles of people.
	Name string `json:"name"`
	// Publish and Subscribe are the subjects that it may use, sorted.
	Publish   []string `json:"publish"`
	Subscribe []string `json:"subscribe"`
}

// Collector is `millrace collect kubernetes` that publishes into a pipeline.
type Collector struct {
	// Subject that it publishes on. Default: kubernetes, below the ingress of the pipeline.
	Subject string
	// Cluster is its name. Default: kubernetes.
	Cluster string
	// Bucket of its checkpoints. Default: config.CollectorBucket.
	Bucket string
}

// Permissions are the rights of the workers of each stage, in the order of the plan. A stage that runs in
// the workers of another one has no user of its own: its rights are those of its head.
//
// What a user reads of a stream cannot be bounded below the stream: a stage may read the dead
// letters, the insights and the leases of the whole pipeline, since the last message of its own
// subjects is among them. Ports out are streams of their own.
func Permissions(p *Plan) []User {
	var users []User
	for _, s := range p.Stages {
		if s.Head == "" {
			users = append(users, stageUser(p, &s))
		}
	}
	return users
}

// OperatorPermissions are the rights of the operator for all plans, which share a NATS account.
func OperatorPermissions(plans ...*Plan) User {
	var publish []string
	// It is told of what others change. These cannot be bounded to streams.
	subscribe := []string{
		"$JS.EVENT.ADVISORY.CONSUMER.DELETED.>",
		"$JS.EVENT.ADVISORY.STREAM.CREATED.>", "$JS.EVENT.ADVISORY.STREAM.DELETED.>", "$JS.EVENT.ADVISORY.STREAM.UPDATED.>",
	}
	for _, p := range plans {
		api := p.domain().API
		// Which streams a deleted pipeline owns is found by their metadata. INFO tells a server that is silent
		// from an asset that is.
		publish = append(publish, api("INFO"), api("STREAM.LIST"))
		names := p.Buckets()
		for _, s := range p.Streams {
			names = append(names, s.Name)
		}
		for _, name := range names {
			for _, verb := range []string{"CREATE", "INFO", "UPDATE", "DELETE"} {
				publish = append(publish, api("STREAM."+verb+"."+name))
			}
			publish = append(publish, api("STREAM.MSG.GET."+name),
				api("CONSUMER.LIST."+name), api("CONSUMER.INFO."+name+".*"), api("CONSUMER.DELETE."+name+".*"),
				api("CONSUMER.CREATE."+name+".>"), api("CONSUMER.DURABLE.CREATE."+name+".*"))
		}
		for _, d := range []config.Domain{"", p.domain()} {
			subscribe = append(subscribe, d.API("CONSUMER.CREATE.>"), d.API("CONSUMER.DURABLE.CREATE.>"), d.API("STREAM.DELETE.>"))
		}
	}
	u := user("millrace-operator", OperatorInbox, publish)
	slices.Sort(subscribe)
	u.Subscribe = append(slices.Compact(subscribe), u.Subscribe...)
	return u
}

// ConsolePermissions are the rights of an operator that serves the console: its own, and those of a viewer, or of an editor when people may
// replay dead letters there.
func ConsolePermissions(edit bool, plans ...*Plan) User {
	u, people := OperatorPermissions(plans...), ViewerPermissions(plans...)
	if edit {
		people = EditorPermissions(plans...)
	}
	u.Publish = append(u.Publish, people.Publish...)
	slices.Sort(u.Publish)
	u.Publish = slices.Compact(u.Publish)
	return u
}

// CollectorPermissions are the rights of a collector.
func CollectorPermissions(p *Plan, c Collector) User {
	if c.Subject == "" {
		c.Subject = p.Ingress.Subjects[0][:len(p.Ingress.Subjects[0])-1] + "kubernetes"
	}
	bucket := "KV_" + or(c.Bucket, config.CollectorBucket)
	stream := p.Ingress.Name
	d, api := p.domain(), p.domain().API
	return user("millrace-collector", config.CollectorInbox(or(c.Cluster, "kubernetes")), []string{
		c.Subject, api("STREAM.NAMES"), api("STREAM.INFO." + stream), api("STREAM.MSG.GET." + stream),
		api("DIRECT.GET." + stream), api("DIRECT.GET." + stream + ".>"),
		api("INFO"), api("STREAM.CREATE." + bucket), api("STREAM.INFO." + bucket),
		api("STREAM.MSG.GET." + bucket), api("DIRECT.GET." + bucket + ".>"),
		d.Put(or(c.Bucket, config.CollectorBucket), ">"),
	})
}

// The roles of people: names of NATS users.
const (
	RoleViewer = "millrace-viewer"
	RoleEditor = "millrace-editor"
)

// ViewerPermissions are the rights of people who look at all plans, which share a NATS account: `millrace top`, `tap`, `trace`, `incidents`,
// `dlq ls` and `dlq show`. They read whole streams, and write nothing.
func ViewerPermissions(plans ...*Plan) User {
	var publish []string
	for _, p := range plans {
		publish = append(publish, viewerRights(p)...)
	}
	return user(RoleViewer, ViewerInbox, publish)
}

// EditorPermissions are the rights of people who also publish dead letters again, and remove them: `millrace dlq replay`, `cancel` and `purge`.
func EditorPermissions(plans ...*Plan) User {
	var publish []string
	for _, p := range plans {
		d, dead := p.domain(), p.deadLetters()
		publish = append(publish, viewerRights(p)...)
		publish = append(publish, p.Ingress.Subjects...)
		publish = append(publish, d.Put(p.Leases.Bucket, ReplayKeys+".>"), d.API("STREAM.MSG.DELETE."+dead))
	}
	return user(RoleEditor, ViewerInbox, publish)
}

// ReplayKeys begins the keys of the bucket of leases that are of replays of dead letters. No stage has such a name.
const ReplayKeys = "_replay"

func viewerRights(p *Plan) []string {
	var rights []string
	api := p.domain().API
	for _, s := range p.Streams {
		rights = append(rights, api("STREAM.INFO."+s.Name), api("CONSUMER.LIST."+s.Name), api("CONSUMER.INFO."+s.Name+".*"),
			api("DIRECT.GET."+s.Name), api("STREAM.MSG.GET."+s.Name))
	}
	bucket := p.Leases.Stream()
	// INFO tells a server that is silent from an asset that is. Which pipelines there are is found by the metadata of streams.
	return append(rights, api("INFO"), api("STREAM.LIST"), api("STREAM.INFO."+bucket), api("DIRECT.GET."+bucket), api("STREAM.MSG.GET."+bucket))
}

// deadLetters is the stream of the dead letters.
func (p *Plan) deadLetters() string { return p.Stages[0].Config.Outputs[config.PortDeadLetter].Stream }

// domain is where the JetStream of a pipeline is: where its workers find it.
func (p *Plan) domain() config.Domain { return p.Stages[0].Config.NATS.JetStreamDomain }

func user(name, inbox string, publish []string) User {
	slices.Sort(publish)
	return User{Name: name, Publish: slices.Compact(publish), Subscribe: []string{inbox + ".>"}}
}

// stageUser has the rights that workers/engine names in its section Rights.
func stageUser(p *Plan, s *Stage) User {
	c := s.Config
	d, api := c.NATS.JetStreamDomain, c.NATS.JetStreamDomain.API
	var publish []string
	for _, in := range c.Inputs {
		publish = append(publish, inputRights(&c, in)...)
	}
	replays, keeps := false, false
	for _, node := range append([]config.StageConfig{c}, c.Chain...) {
		replays, keeps = replays || node.Replays(), keeps || node.KeepsState()
		if node.Gather != nil && node.Gather.NATS != nil {
			publish = append(publish, node.Gather.NATS.Subject)
		}
		for port, out := range node.Outputs {
			publish = append(publish, out.Stored(node.Stage), api("STREAM.MSG.GET."+out.Stream))
			if port == config.PortInsights && node.Replays() { // which of them are open
				publish = append(publish, api("DIRECT.GET."+out.Stream))
			}
		}
	}
	for _, in := range c.Inputs {
		if replays {
			publish = append(publish, api("DIRECT.GET."+in.Stream))
		}
		if replays || in.Writers > 0 { // how far it was
			publish = append(publish, api("STREAM.MSG.GET."+in.Stream))
		}
	}
	if c.Leases != "" {
		publish = append(publish, d.Put(c.Leases, c.Stage), api("STREAM.MSG.GET.KV_"+c.Leases),
			config.WakeSubject(c.InboxPrefix(), c.Leases))
		if keeps {
			states := config.StateBucket(c.Leases)
			publish = append(publish, d.Put(states, c.Stage+".>"), api("STREAM.MSG.GET.KV_"+states))
		}
	}
	return user(p.Namespace+"."+p.Name+"."+s.Name, c.InboxPrefix(), publish)
}

func inputRights(c *config.StageConfig, in config.Input) []string {
	var rights []string
	api := c.NATS.JetStreamDomain.API
	for lane := range c.Lanes {
		consumer := in.Stream + "." + in.Consumer(lane, c.Lanes)
		rights = append(rights,
			api("CONSUMER.INFO."+consumer), api("CONSUMER.RESET."+consumer), api("CONSUMER.MSG.NEXT."+consumer),
			// The second form is that of servers with the feature flag js_ack_fc_v2.
			"$JS.ACK."+consumer+".>", "$JS.ACK.*.*."+consumer+".>")
	}
	return rights
}
