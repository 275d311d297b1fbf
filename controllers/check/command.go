package check

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"
	ctrl "sigs.k8s.io/controller-runtime"

	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/config/connect"
	"millrace.dev/millrace/workers/config/usage"
)

// Command is `millrace check`.
func Command() *cobra.Command {
	var nats config.NATS
	var leader string
	cluster, timeout := true, 20*time.Second
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check that NATS and the cluster are as the operator needs them",
		Long: `Check that NATS and the cluster are as the operator needs them: NATS answers and is new enough, JetStream
is on and its account not used up, the cluster has the custom resource definitions, and an operator
leads. Each line says what was found; one that fails says what to do. Exit code 1 when something is wrong.`,
		Example: "  millrace check --nats-url nats://nats:4222 --cluster=false\n" +
			"  millrace check --nats-url nats://nats.nats.svc:4222 --leader-election-namespace millrace",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch err := connect.CheckFlags(nats); {
			case err != nil:
				return usage.Error{Err: err}
			case timeout < time.Second:
				return usage.Error{Err: fmt.Errorf("--timeout is %s: at least 1s", timeout)}
			case nats.URL == "" && !cluster:
				return usage.Error{Err: fmt.Errorf("there is nothing to check: give --nats-url, or leave --cluster on")}
			case leader != "" && !cluster:
				return usage.Error{Err: fmt.Errorf("--leader-election-namespace needs --cluster")}
			}
			pool := jetstream.NewPool(jetstream.PoolOptions{Name: "millrace-check", RetryAfter: tryAgain, Patience: 2 * time.Second})
			defer pool.Close()
			checks, err := checksOf(pool, nats, cluster, leader)
			if err != nil {
				return err
			}
			return run(cmd.Context(), cmd.OutOrStdout(), checks, timeout)
		},
	}
	f := cmd.Flags()
	f.StringVar(&nats.URL, "nats-url", "", "NATS server of Pipelines that name none, as URLs separated by commas; without it NATS is not checked")
	connect.Flags(cmd, &nats)
	f.BoolVar(&cluster, "cluster", cluster, "check the cluster of KUBECONFIG or, inside a pod, its own")
	f.StringVar(&leader, "leader-election-namespace", "", "namespace of the operator's Lease; without it nobody asks whether an operator leads")
	f.DurationVar(&timeout, "timeout", timeout, "how long each check that fails is tried again")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage.Error{Err: err} })
	return cmd
}

// checksOf are those that the flags ask for, in the order of their dependence.
func checksOf(pool *jetstream.Pool, nats config.NATS, cluster bool, leader string) ([]check, error) {
	var all []check
	if nats.URL != "" {
		server := &natsServer{pool: pool, server: jetstream.Server{URL: nats.URL, Domain: nats.JetStreamDomain, Files: nats}}
		all = append(all, check{"nats", server.reach}, check{"version", server.version}, check{"jetstream", server.jetStream})
	}
	if !cluster {
		return all, nil
	}
	found, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("find the cluster: %w; set KUBECONFIG, run in a pod, or give --cluster=false", err)
	}
	client, err := kubernetes.NewForConfig(found)
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	k := kubernetesCluster{client: client, now: time.Now}
	all = append(all, check{"definitions", k.definitions})
	if leader != "" {
		all = append(all, check{"operator", func(ctx context.Context) (string, error) { return k.leader(ctx, leader) }})
	}
	return all, nil
}
