package volumes

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
)

// expander makes this node's volumes as large as their claims ask, while pods use them. Kubernetes itself expands only the
// volumes of CSI drivers; for others it leaves both the volume and the claim's status to whoever provisioned them.
type expander struct {
	client      kubernetes.Interface
	provisioner *provisioner
	claims      corelisters.PersistentVolumeClaimLister
	volumes     corelisters.PersistentVolumeLister
	queue       workqueue.TypedRateLimitingInterface[types.NamespacedName]
}

func newExpander(client kubernetes.Interface, factory informers.SharedInformerFactory, p *provisioner) (*expander, error) {
	e := &expander{
		client:      client,
		provisioner: p,
		claims:      factory.Core().V1().PersistentVolumeClaims().Lister(),
		volumes:     factory.Core().V1().PersistentVolumes().Lister(),
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](200*time.Millisecond, 10*time.Second)),
	}
	enqueue := func(object any) {
		if claim, ok := object.(*v1.PersistentVolumeClaim); ok {
			e.queue.Add(types.NamespacedName{Namespace: claim.Namespace, Name: claim.Name})
		}
	}
	_, err := factory.Core().V1().PersistentVolumeClaims().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    enqueue,
		UpdateFunc: func(_, claim any) { enqueue(claim) },
	})
	return e, err
}

// run works until the context ends.
func (e *expander) run(ctx context.Context) {
	go wait.UntilWithContext(ctx, func(ctx context.Context) {
		for e.next(ctx) {
		}
	}, time.Second)
	<-ctx.Done()
	e.queue.ShutDown()
}

func (e *expander) next(ctx context.Context) bool {
	key, stop := e.queue.Get()
	if stop {
		return false
	}
	defer e.queue.Done(key)
	if err := e.expand(ctx, key); err != nil {
		klog.FromContext(ctx).Error(err, "cannot expand the volume", "claim", key)
		e.queue.AddRateLimited(key)
		return true
	}
	e.queue.Forget(key)
	return true
}

// expand brings the volume, the PersistentVolume and the claim's status to the size that the claim asks for, in this order:
// whatever is killed in between is done again.
func (e *expander) expand(ctx context.Context, key types.NamespacedName) error {
	claim, err := e.claims.PersistentVolumeClaims(key.Namespace).Get(key.Name)
	if err != nil || claim.Status.Phase != v1.ClaimBound || !wantsMore(claim) {
		return ignoreNotFound(err)
	}
	volume, err := e.volumes.Get(claim.Spec.VolumeName)
	if err != nil || !e.provisioner.owns(volume) {
		return ignoreNotFound(err)
	}
	request := claim.Spec.Resources.Requests[v1.ResourceStorage]
	size := roundUp(request.Value())
	if err := e.provisioner.disk.grow(volume.Name, size); err != nil {
		return err
	}
	capacity := v1.ResourceList{v1.ResourceStorage: quantity(size)}
	if err := e.patchVolume(ctx, volume.Name, capacity); err != nil {
		return fmt.Errorf("recording the size of volume %s: %w", volume.Name, err)
	}
	if err := e.patchClaim(ctx, claim, capacity); err != nil {
		return fmt.Errorf("recording the size of claim %s: %w", key, err)
	}
	klog.FromContext(ctx).Info("volume expanded", "claim", key, "volume", volume.Name, "bytes", size)
	return nil
}

// wantsMore says whether a claim asks for more than it has.
func wantsMore(claim *v1.PersistentVolumeClaim) bool {
	request := claim.Spec.Resources.Requests[v1.ResourceStorage]
	capacity := claim.Status.Capacity[v1.ResourceStorage]
	return request.Cmp(capacity) > 0
}

func (e *expander) patchVolume(ctx context.Context, name string, capacity v1.ResourceList) error {
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"capacity": capacity}})
	if err != nil {
		return err
	}
	_, err = e.client.CoreV1().PersistentVolumes().Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

func (e *expander) patchClaim(ctx context.Context, claim *v1.PersistentVolumeClaim, capacity v1.ResourceList) error {
	patch, err := json.Marshal(map[string]any{"status": map[string]any{
		"capacity":                  capacity,
		"allocatedResources":        nil,
		"allocatedResourceStatuses": nil,
		"conditions":                remainingConditions(claim.Status.Conditions),
	}})
	if err != nil {
		return err
	}
	_, err = e.client.CoreV1().PersistentVolumeClaims(claim.Namespace).
		Patch(ctx, claim.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

// remainingConditions are those that do not speak of an expansion.
func remainingConditions(conditions []v1.PersistentVolumeClaimCondition) []v1.PersistentVolumeClaimCondition {
	var remaining []v1.PersistentVolumeClaimCondition
	for _, condition := range conditions {
		switch condition.Type {
		case v1.PersistentVolumeClaimResizing, v1.PersistentVolumeClaimFileSystemResizePending,
			v1.PersistentVolumeClaimControllerResizeError, v1.PersistentVolumeClaimNodeResizeError:
		default:
			remaining = append(remaining, condition)
		}
	}
	return remaining
}

func quantity(bytes int64) resource.Quantity {
	return *resource.NewQuantity(bytes, resource.BinarySI)
}
