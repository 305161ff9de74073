package volumes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"k8s.io/mount-utils"
)

// blockSize is the granularity of a volume's size in bytes: that of mkfs.xfs.
const blockSize = 4096

// largest is how many bytes a volume can have: about as many as a file of ext4, on whatever file system the images lie. Since they are
// sparse, some would otherwise be of any size, unlike a disk.
const largest = 16 << 40

// disk keeps one node's volumes. A volume is an XFS file system in a sparse file, so that it has the size that was asked for
// and fills up like a real disk. The files outlive the node's processes; the mounts do not.
//
// XFS, not ext4, since a mounted ext4 can be made larger only with CAP_SYS_RESOURCE, which root lacks in some virtual
// machines.
type disk struct {
	images string // folder of the file systems' images, one file per volume
	mounts string // folder of the mount points, one folder per volume
	mount  mount.Interface
}

func (d *disk) image(volume string) string      { return filepath.Join(d.images, volume+".img") }
func (d *disk) mountPoint(volume string) string { return filepath.Join(d.mounts, volume) }

// path is the folder that pods see. It lies inside the file system, so that it does not exist while the volume is not
// mounted: the kubelet then waits, instead of giving the pod an empty folder of the node.
func (d *disk) path(volume string) string { return filepath.Join(d.mountPoint(volume), "data") }

// roundUp is the size of the image, in bytes, for a request of so many bytes.
func roundUp(bytes int64) int64 { return (bytes + blockSize - 1) / blockSize * blockSize }

// create makes and mounts a volume of size bytes. It may be called again after it failed or was killed.
func (d *disk) create(volume string, size int64) error {
	if _, err := os.Stat(d.image(volume)); errors.Is(err, fs.ErrNotExist) {
		// Formatted under another name: an image that bears its own name is complete.
		unfinished := d.image(volume) + ".new"
		if err := truncate(unfinished, size); err != nil {
			return err
		}
		if err := mkfs(unfinished); err != nil {
			return err
		}
		if err := os.Rename(unfinished, d.image(volume)); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	return d.attach(volume)
}

// attach mounts an existing volume, unless that has been done.
func (d *disk) attach(volume string) error {
	target := d.mountPoint(volume)
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	mounted, err := d.mount.IsMountPoint(target)
	if err != nil {
		return fmt.Errorf("looking for a mount at %s: %w", target, err)
	}
	if !mounted {
		// With `loop` the kernel lets go of the loop device when the last mount of it goes, also when that is because
		// every process of the node was killed.
		if err := run("mount", "-t", "xfs", "-o", "loop", d.image(volume), target); err != nil {
			return err
		}
	}
	// As the root of a new ext4 disk, the most common kind: owned by root, with a lost+found that only root may enter.
	if err := os.MkdirAll(d.path(volume), 0o755); err != nil {
		return err
	}
	err = os.Mkdir(filepath.Join(d.path(volume), "lost+found"), 0o700)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// attachAll mounts every volume of the node, as its start-up does with real disks.
func (d *disk) attachAll() error {
	images, err := filepath.Glob(d.image("*"))
	if err != nil {
		return err
	}
	var failed []error
	for _, image := range images {
		failed = append(failed, d.attach(strings.TrimSuffix(filepath.Base(image), ".img")))
	}
	return errors.Join(failed...)
}

// grow makes a mounted volume larger while it is in use. A volume that has the size already is left alone.
func (d *disk) grow(volume string, size int64) error {
	info, err := os.Stat(d.image(volume))
	if err != nil {
		return err
	}
	if info.Size() < size {
		if err := truncate(d.image(volume), size); err != nil {
			return err
		}
	}
	device, err := d.device(volume)
	if err != nil {
		return err
	}
	if err := run("losetup", "--set-capacity", device); err != nil {
		return err
	}
	return run("xfs_growfs", d.mountPoint(volume))
}

// device is the loop device of a mounted volume.
func (d *disk) device(volume string) (string, error) {
	mounts, err := d.mount.List()
	if err != nil {
		return "", fmt.Errorf("listing mounts: %w", err)
	}
	for _, m := range mounts {
		if m.Path == d.mountPoint(volume) {
			return m.Device, nil
		}
	}
	return "", fmt.Errorf("volume %s is not mounted", volume)
}

// remove unmounts a volume and deletes its data. A volume that does not exist is no error.
func (d *disk) remove(volume string) error {
	target := d.mountPoint(volume)
	mounted, err := d.mount.IsMountPoint(target)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("looking for a mount at %s: %w", target, err)
	}
	if mounted {
		if err := d.mount.Unmount(target); err != nil {
			return err
		}
	}
	for _, path := range []string{target, d.image(volume), d.image(volume) + ".new"} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// mkfs formats a file. Without --unsupported mkfs.xfs refuses less than 300 MB, which a test fills faster.
func mkfs(path string) error { return run("mkfs.xfs", "-q", "-f", "--unsupported", path) }

// truncate makes a file of size bytes, or an existing one larger or smaller, without writing to it.
func truncate(path string, size int64) error {
	if size > largest {
		return fmt.Errorf("no disk has %d bytes", size)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(file.Truncate(size), file.Close())
}

func run(name string, args ...string) error {
	if output, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(output)))
	}
	return nil
}
