// Package volumes provisions PersistentVolumes on the disk of the node it runs on: a file system of exactly the size
// that a claim asks for, bound to the node, given to the pod's fsGroup by the kubelet, expanded while in use, deleted with
// its claim. It is what a cloud's disk driver is to a real cluster, without which a test of a full disk, of a lost or
// resized volume or of a database that does not run as root would test nothing.
package volumes

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/mount-utils"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// provisionerName is what a StorageClass names to have its volumes made here.
const provisionerName = "volumes.e2e.memgraph.dev"

// NewCommand is the program that runs on each node.
func NewCommand() *cobra.Command {
	var kubeconfig, node, images, mounts string
	command := &cobra.Command{
		Use:   "volume-provisioner",
		Short: "Provisions PersistentVolumes on the disk of the node that it runs on",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			disk := &disk{images: images, mounts: mounts, mount: mount.New("")}
			return serve(genericapiserver.SetupSignalContext(), kubeconfig, &provisioner{node: node, disk: disk})
		},
	}
	flags := command.Flags()
	flags.StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig of the API server")
	flags.StringVar(&node, "node", "", "name of the node")
	flags.StringVar(&images, "images", "", "folder of the volumes' file system images")
	flags.StringVar(&mounts, "mounts", "", "folder to mount the volumes in")
	for _, name := range []string{"kubeconfig", "node", "images", "mounts"} {
		if err := command.MarkFlagRequired(name); err != nil {
			panic(err) // the flag is not defined above
		}
	}
	return command
}

func serve(ctx context.Context, kubeconfig string, p *provisioner) error {
	if err := p.disk.attachAll(); err != nil {
		return fmt.Errorf("mounting the volumes of this node: %w", err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("reading %s: %w", kubeconfig, err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	expander, err := newExpander(client, factory, p)
	if err != nil {
		return err
	}
	provisioning := controller.NewProvisionController(ctx, client, provisionerName, p,
		controller.LeaderElection(false),
		controller.ClaimsInformer(factory.Core().V1().PersistentVolumeClaims().Informer()),
		controller.VolumesInformer(factory.Core().V1().PersistentVolumes().Informer()),
		controller.ClassesInformer(factory.Storage().V1().StorageClasses().Informer()),
		// The library's own first retry comes after 15 s, long for a test.
		controller.RateLimiter(workqueue.NewTypedItemExponentialFailureRateLimiter[string](200*time.Millisecond, 10*time.Second)),
		controller.FailedProvisionThreshold(0),
		controller.FailedDeleteThreshold(0),
	)
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	go expander.run(ctx)
	provisioning.Run(ctx)
	return nil
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
