#!/usr/bin/env bash
# What `make deploy` does after `make package`: Google Cloud, AWS, the image of transform-quotes. Every apply shows its
# plan and asks. Safe to repeat: what is there and unchanged stays. docs/DEPLOY.md tells what to prepare.
set -euo pipefail
cd "$(dirname "$0")"

for root in gcp aws; do
  [[ -f $root/terraform.tfvars ]] || { echo "error: infra/$root/terraform.tfvars is missing; begin with terraform.tfvars.example" >&2; exit 1; }
  terraform -chdir=$root init -input=false
done

echo "== Google Cloud"
terraform -chdir=gcp apply
terraform -chdir=gcp output -json aws_variables > aws/google.auto.tfvars.json

# The digest of the image that is to run, by its content: an unchanged context is neither built nor pushed again.
context=../target/package/transform-quotes
tag=$(cd $context && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16)
if ! command -v docker >/dev/null; then
  echo "note: docker is missing, so the image of transform-quotes is not built; docs/DEPLOY.md tells how to do it elsewhere"
  terraform -chdir=aws apply
  exit
fi

echo "== AWS: the repository of the image"
terraform -chdir=aws apply -target=aws_ecr_repository.transform_quotes
repository=$(terraform -chdir=aws output -raw transform_repository_url)
region=$(cut -d. -f4 <<<"$repository")
architecture=$(terraform -chdir=aws console <<<"var.architecture" | tr -d '"')
digest() {
  aws ecr describe-images --region "$region" --repository-name "${repository#*/}" --image-ids imageTag="$tag-$architecture" \
    --query 'imageDetails[0].imageDigest' --output text 2>/dev/null
}
if ! digest >/dev/null; then
  aws ecr get-login-password --region "$region" | docker login --username AWS --password-stdin "${repository%%/*}"
  # dbt parses its project while the image is built, for these names.
  read -ra names < <(python3 -c 'import json; print(*(f"--build-arg=BIGQUERY_{name.upper()}={value}"
    for name, value in json.load(open("aws/google.auto.tfvars.json"))["bigquery"].items()))')
  # Lambda takes no attestations.
  docker buildx build --platform "linux/${architecture/x86_64/amd64}" --provenance=false --push "${names[@]}" \
    --file $context/functions/transform-quotes/Dockerfile --tag "$repository:$tag-$architecture" $context
fi
printf '{"transform_image_uri": "%s@%s"}\n' "$repository" "$(digest)" > aws/image.auto.tfvars.json

echo "== AWS"
terraform -chdir=aws apply
