package manifest

import (
	"context"
	"fmt"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"

	"millrace.dev/millrace/config/crd"
)

// kindSchema checks objects of one kind as the API server does when they are created.
type kindSchema struct {
	structural *structuralschema.Structural
	schema     validation.SchemaValidator
	rules      *cel.Validator
}

// loadSchemas compiles the definitions, by kind.
func loadSchemas() (map[string]*kindSchema, error) {
	definitions, err := crd.Definitions()
	if err != nil {
		return nil, err
	}
	schemas := map[string]*kindSchema{}
	for _, d := range definitions {
		s, err := compile(d)
		if err != nil {
			return nil, fmt.Errorf("compile the definition %s: %w", d.Name, err)
		}
		schemas[d.Spec.Names.Kind] = s
	}
	return schemas, nil
}

func compile(d *apiextensionsv1.CustomResourceDefinition) (*kindSchema, error) {
	var internal apiextensions.CustomResourceValidation
	external := d.Spec.Versions[0].Schema
	if err := apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(external, &internal, nil); err != nil {
		return nil, err
	}
	structural, err := structuralschema.NewStructural(internal.OpenAPIV3Schema)
	if err != nil {
		return nil, err
	}
	schema, _, err := validation.NewSchemaValidator(internal.OpenAPIV3Schema)
	if err != nil {
		return nil, err
	}
	return &kindSchema{
		structural: structural, schema: schema,
		rules: cel.NewValidator(structural, true, celconfig.PerCallLimit),
	}, nil
}

// unknown prunes fields that the schema does not know and returns their paths.
func (s *kindSchema) unknown(object *unstructured.Unstructured) ([]string, error) {
	meta, found, unknownMeta, err := objectmeta.GetObjectMetaWithOptions(object.Object, objectmeta.ObjectMetaOptions{ReturnUnknownFieldPaths: true})
	if err != nil {
		return nil, err
	}
	paths := pruning.PruneWithOptions(object.Object, s.structural, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	defaulting.PruneNonNullableNullsWithoutDefaults(object.Object, s.structural)
	if found {
		if err := objectmeta.SetObjectMeta(object.Object, meta); err != nil {
			return nil, err
		}
	}
	defaulting.Default(object.Object, s.structural)
	return append(unknownMeta, paths...), nil
}

// validate returns what the API server would refuse in a new object.
func (s *kindSchema) validate(ctx context.Context, object *unstructured.Unstructured) field.ErrorList {
	path := field.NewPath("metadata")
	errs := apivalidation.ValidateObjectMetaAccessor(object, object.GetNamespace() != "", apivalidation.NameIsDNSSubdomain, path)
	errs = append(errs, validation.ValidateCustomResource(nil, object.Object, s.schema)...)
	errs = append(errs, objectmeta.Validate(ctx, nil, object.Object, s.structural, false)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, s.structural, object.Object)...)
	if blocking(errs) {
		// The API server says so too, as an error without a field.
		return errs
	}
	broken, _ := s.rules.Validate(ctx, nil, s.structural, object.Object, nil, celconfig.RuntimeCELCostBudget)
	return append(errs, broken...)
}

// blocking errors are those after which the API server does not run CEL rules: an object of
// another shape would only make them fail.
func blocking(errs field.ErrorList) bool {
	for _, err := range errs {
		switch err.Type {
		case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
			return true
		}
	}
	return false
}

// convert fills the typed object.
func convert(object *unstructured.Unstructured, into any) error {
	return runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, into)
}
