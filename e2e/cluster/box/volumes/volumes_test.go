package volumes

import (
	"context"
	"path/filepath"
	"testing"

	v1 "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

func claimOf(request, capacity string) *v1.PersistentVolumeClaim {
	claim := &v1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{selectedNode: "node1"}}}
	claim.Spec.AccessModes = []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce}
	claim.Spec.Resources.Requests = v1.ResourceList{v1.ResourceStorage: resource.MustParse(request)}
	claim.Status.Capacity = v1.ResourceList{v1.ResourceStorage: resource.MustParse(capacity)}
	return claim
}

func TestSizesAreRoundedUpToBlocks(t *testing.T) {
	for bytes, want := range map[int64]int64{0: 0, 1: 4096, 4096: 4096, 4097: 8192} {
		if got := roundUp(bytes); got != want {
			t.Errorf("roundUp(%d) = %d, want %d", bytes, got, want)
		}
	}
}

func TestNoVolumeIsLargerThanADisk(t *testing.T) {
	image := filepath.Join(t.TempDir(), "image")
	if err := truncate(image, largest+blockSize); err == nil {
		t.Error("one is")
	}
	if err := truncate(image, 1<<30); err != nil {
		t.Error(err)
	}
}

func TestEachNodeMindsItsOwnVolumes(t *testing.T) {
	claim := claimOf("1Mi", "0")
	volume := &v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{nodeAnnotation: "node1"}}}
	for node, want := range map[string]bool{"node1": true, "node2": false} {
		p := &provisioner{node: node}
		if got := p.ShouldProvision(context.Background(), claim); got != want {
			t.Errorf("%s provisions node1's claim: %v", node, got)
		}
		if got := p.ShouldDelete(context.Background(), volume); got != want {
			t.Errorf("%s deletes node1's volume: %v", node, got)
		}
	}
}

func TestAVolumeIsBoundToItsNodeAndPodsSeeAFolderInsideIt(t *testing.T) {
	p := &provisioner{node: "node1", disk: &disk{images: "/images", mounts: "/mounts"}}
	reclaim := v1.PersistentVolumeReclaimRetain
	volume := p.describe(controller.ProvisionOptions{
		PVName: "pvc-1", PVC: claimOf("1Mi", "0"), StorageClass: &storage.StorageClass{ReclaimPolicy: &reclaim},
	}, 1<<20)
	if got, want := volume.Spec.Local.Path, filepath.Join("/mounts", "pvc-1", "data"); got != want {
		t.Errorf("path %s, want %s", got, want)
	}
	match := volume.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0]
	if match.Key != v1.LabelHostname || match.Values[0] != "node1" {
		t.Errorf("affinity %v", match)
	}
	if volume.Spec.PersistentVolumeReclaimPolicy != reclaim {
		t.Errorf("reclaim policy %s", volume.Spec.PersistentVolumeReclaimPolicy)
	}
	if capacity := volume.Spec.Capacity[v1.ResourceStorage]; capacity.String() != "1Mi" {
		t.Errorf("capacity %s", capacity.String())
	}
}

func TestOnlyAClaimThatAsksForMoreIsExpanded(t *testing.T) {
	for request, want := range map[string]bool{"1Mi": false, "2Mi": false, "3Mi": true} {
		if got := wantsMore(claimOf(request, "2Mi")); got != want {
			t.Errorf("a claim for %s that has 2Mi wants more: %v", request, got)
		}
	}
}

func TestConditionsOfAnExpansionEndWithIt(t *testing.T) {
	other := v1.PersistentVolumeClaimCondition{Type: "Unused"}
	remaining := remainingConditions([]v1.PersistentVolumeClaimCondition{{Type: v1.PersistentVolumeClaimResizing}, other})
	if len(remaining) != 1 || remaining[0].Type != other.Type {
		t.Errorf("remaining: %v", remaining)
	}
}
