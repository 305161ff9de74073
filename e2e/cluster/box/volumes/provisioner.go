package volumes

import (
	"context"
	"fmt"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// selectedNode is the annotation by which the scheduler says on which node a claim's first pod will run.
const selectedNode = "volume.kubernetes.io/selected-node"

// nodeAnnotation names the node whose disk a PersistentVolume lies on.
const nodeAnnotation = "volumes.e2e.memgraph.dev/node"

// provisioner makes and deletes the volumes of one node. Every node runs one, so each leaves the others' volumes alone.
type provisioner struct {
	node string
	disk *disk
}

var (
	_ controller.Provisioner   = (*provisioner)(nil)
	_ controller.Qualifier     = (*provisioner)(nil)
	_ controller.DeletionGuard = (*provisioner)(nil)
)

func (p *provisioner) ShouldProvision(_ context.Context, claim *v1.PersistentVolumeClaim) bool {
	return claim.Annotations[selectedNode] == p.node
}

func (p *provisioner) ShouldDelete(_ context.Context, volume *v1.PersistentVolume) bool {
	return p.owns(volume)
}

func (p *provisioner) owns(volume *v1.PersistentVolume) bool {
	return volume.Annotations[nodeAnnotation] == p.node
}

func (p *provisioner) Provision(
	_ context.Context, options controller.ProvisionOptions,
) (*v1.PersistentVolume, controller.ProvisioningState, error) {
	request := options.PVC.Spec.Resources.Requests[v1.ResourceStorage]
	size := roundUp(request.Value())
	if err := p.disk.create(options.PVName, size); err != nil {
		return nil, controller.ProvisioningFinished, fmt.Errorf("making a volume of %d bytes: %w", size, err)
	}
	return p.describe(options, size), controller.ProvisioningFinished, nil
}

// describe is the PersistentVolume of a volume that exists. The type is `local`, not `hostPath`: only for the former does
// the kubelet give the files to a pod's fsGroup.
func (p *provisioner) describe(options controller.ProvisionOptions, size int64) *v1.PersistentVolume {
	filesystem := v1.PersistentVolumeFilesystem
	return &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name:        options.PVName,
			Annotations: map[string]string{nodeAnnotation: p.node},
		},
		Spec: v1.PersistentVolumeSpec{
			Capacity:                      v1.ResourceList{v1.ResourceStorage: quantity(size)},
			AccessModes:                   options.PVC.Spec.AccessModes,
			PersistentVolumeReclaimPolicy: *options.StorageClass.ReclaimPolicy,
			VolumeMode:                    &filesystem,
			PersistentVolumeSource: v1.PersistentVolumeSource{
				Local: &v1.LocalVolumeSource{Path: p.disk.path(options.PVName)},
			},
			NodeAffinity: &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{
				NodeSelectorTerms: []v1.NodeSelectorTerm{{
					MatchExpressions: []v1.NodeSelectorRequirement{{
						Key:      v1.LabelHostname,
						Operator: v1.NodeSelectorOpIn,
						Values:   []string{p.node},
					}},
				}},
			}},
		},
	}
}

func (p *provisioner) Delete(_ context.Context, volume *v1.PersistentVolume) error {
	return p.disk.remove(volume.Name)
}
